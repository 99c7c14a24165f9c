"""Scripts of pointers and touches: just the packets, with just their times."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from virtmesh_client.input import wheels
from virtmesh_client.input.models import Axis, InputInfo
from virtmesh_client.input.script import check, release_packets
from virtmesh_client.input.touch import Touches
from virtmesh_common.evdev import CODES
from virtmesh_common.input import moves
from virtmesh_common.input.errors import BadEvent
from virtmesh_common.input.events import EV_ABS, EV_KEY, EV_REL, Event, event
from virtmesh_common.input.script import press_keys

if TYPE_CHECKING:
    from collections.abc import Callable

ABS, KEY, REL = CODES["EV_ABS"], CODES["EV_KEY"], CODES["EV_REL"]
LEFT = KEY["BTN_LEFT"]


def device(*, fine: bool = True) -> InputInfo:
    """Describe a device that has a bit of everything."""
    axes = {
        ABS[name]: Axis(0, top)
        for name, top in {
            "ABS_X": 1000,
            "ABS_Y": 1000,
            "ABS_PRESSURE": 255,
            "ABS_MT_SLOT": 3,
            "ABS_MT_TRACKING_ID": 65535,
            "ABS_MT_POSITION_X": 1000,
            "ABS_MT_POSITION_Y": 1000,
        }.items()
    }
    wheels = {REL["REL_X"], REL["REL_Y"], REL["REL_WHEEL"], REL["REL_HWHEEL"]}
    if fine:
        wheels |= {REL["REL_WHEEL_HI_RES"], REL["REL_HWHEEL_HI_RES"]}
    return InputInfo(
        name="test",
        serial="",
        ids=(6, 0, 0, 0),
        personality="test",
        properties=(),
        capabilities={
            EV_KEY: frozenset({LEFT, KEY["KEY_A"], KEY["BTN_TOUCH"]}),
            EV_REL: frozenset(wheels),
            EV_ABS: frozenset(axes),
        },
        axes=axes,
        leds_on=(),
    )


@pytest.mark.parametrize("distance", [(100, -37), (1, 0), (-3, 2), (5000, 1)])
@pytest.mark.parametrize("duration", [0.0, 0.05, 1.0])
def test_the_parts_of_a_move_add_up(distance: tuple[int, int], duration: float) -> None:
    """Whatever the number of steps, and in time."""
    script = moves.move_rel(*distance, duration)
    events = [event for _, packet in script for event in packet]
    assert sum(one.value for one in events if one.code == REL["REL_X"]) == distance[0]
    assert sum(one.value for one in events if one.code == REL["REL_Y"]) == distance[1]
    assert all(one.value for one in events)
    moments = [moment for moment, _ in script]
    assert moments == sorted(moments)
    assert moments[-1] <= duration


def test_a_move_of_nothing_is_nothing() -> None:
    """Not even a packet."""
    assert moves.move_rel(0, 0, 0.1) == []


def test_a_path_ends_at_its_end() -> None:
    """Just there, at just that time, in a straight line."""
    script = moves.move_abs((0, 0), (100, 50), 0.08)
    assert len(script) == 10
    assert script[-1] == (0.08, (Event(EV_ABS, 0, 100), Event(EV_ABS, 1, 50)))
    assert all(abs(x.value - 2 * y.value) <= 1 for _, (x, y) in script)


def test_a_wheel_turns_by_notches_and_parts_of_them() -> None:
    """Both wheels say the same."""
    script = wheels.scroll(device(), (-2.5, 0), 0.1)
    assert [packet for _, packet in script] == [
        (event("REL_WHEEL", -1), event("REL_WHEEL_HI_RES", -120)),
        (event("REL_WHEEL", -1), event("REL_WHEEL_HI_RES", -120)),
        (event("REL_WHEEL_HI_RES", -60),),
    ]
    assert [moment for moment, _ in script] == pytest.approx([0.0, 0.1, 0.2])


def test_a_coarse_wheel_turns_by_whole_notches() -> None:
    """And says so otherwise."""
    coarse = device(fine=False)
    assert wheels.scroll(coarse, (0, 1), 0.0) == [(0.0, (event("REL_HWHEEL", 1),))]
    with pytest.raises(BadEvent, match="whole notches"):
        wheels.scroll(coarse, (0.5, 0), 0.0)


def test_a_chord_is_released_in_the_reverse_order() -> None:
    """After its hold time, as often as asked."""
    script = press_keys([[1, 2]], hold=0.5, count=2, interval=0.25)
    assert [(moment, packet[0].code, packet[0].value) for moment, packet in script] == [
        (0.0, 1, 1), (0.0, 2, 1), (0.5, 2, 0), (0.5, 1, 0),
        (0.75, 1, 1), (0.75, 2, 1), (1.25, 2, 0), (1.25, 1, 0),
    ]  # fmt: skip


def test_chords_follow_each_other_at_the_interval() -> None:
    """Each as often as asked, before the next."""
    script = press_keys([[1], [2]], hold=0.0, count=2, interval=1.0)
    pressed = [(moment, packet[0].code) for moment, packet in script if packet[0].value]
    assert pressed == [(0.0, 1), (1.0, 1), (2.0, 2), (3.0, 2)]


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (event("KEY_B", 1), "has no KEY_B"),
        (event("ABS_X", 1001), "0 to 1000"),
        (event("ABS_X", -1), "0 to 1000"),
        (event("KEY_A", 3), "1 .pressed."),
        (event("LED_CAPSL", 1), "for the driver"),
        (event("SYN_DROPPED", 0), "has no SYN_DROPPED"),
        (Event(99, 99, 0), "has no 0x63"),
    ],
)
def test_what_the_device_does_not_have_is_refused_beforehand(bad: Event, why: str) -> None:
    """With what it has."""
    with pytest.raises(BadEvent, match=why):
        check(device(), [(0.0, (bad,))])


@pytest.mark.parametrize("moment", [-1.0, 1e300, float("inf"), float("nan")])
def test_a_time_that_no_clock_has_is_refused(moment: float) -> None:
    """Before anything is sent."""
    with pytest.raises(BadEvent, match="seconds is not possible"):
        check(device(), [(moment, (event("KEY_A", 1),))])


@pytest.mark.parametrize("value", [1 << 31, -(1 << 31) - 1])
def test_a_value_that_an_event_has_no_room_for_is_refused(value: int) -> None:
    """On axes of any kind, and with `any_value`."""
    for name in ("REL_X", "ABS_X"):
        with pytest.raises(BadEvent, match="a value has 32 bits"):
            check(device(), [(0.0, (event(name, value),))], any_value=True)


def test_a_script_that_memory_has_no_room_for_is_refused() -> None:
    """Before it is made, whatever makes it."""
    many = 1 << 40
    makers: list[Callable[[], object]] = [
        lambda: press_keys([[1]], hold=0, count=many, interval=0),
        lambda: moves.move_rel(1, 1, 1e9),
        lambda: Touches(device()).tap(1, 1, 0.0, many),
        lambda: wheels.scroll(device(), (1 << 23, 0), 0.0),
    ]
    for make in makers:
        with pytest.raises(BadEvent, match="packets are too many"):
            make()


def test_a_packet_that_is_too_large_is_refused() -> None:
    """The contract allows 1024 events, SYN_REPORT among them."""
    events = (event("KEY_A", 1),) * 1024
    check(device(), [(0.0, events[:1023])])
    with pytest.raises(BadEvent, match="1024"):
        check(device(), [(0.0, events)])


def test_a_finger_goes_down_moves_and_is_lifted() -> None:
    """By protocol B, with the single touch for those who know no other."""
    fingers = Touches(device())
    down = fingers.down(10, 20, 0)
    assert [str(one) for one in down] == [
        "ABS_MT_SLOT 0", "ABS_MT_TRACKING_ID 0", "ABS_MT_POSITION_X 10", "ABS_MT_POSITION_Y 20",
        "ABS_X 10", "ABS_Y 20", "ABS_PRESSURE 128", "BTN_TOUCH 1",
    ]  # fmt: skip
    second = fingers.down(30, 40, 1)
    assert [str(one) for one in second] == [
        "ABS_MT_SLOT 1", "ABS_MT_TRACKING_ID 1", "ABS_MT_POSITION_X 30", "ABS_MT_POSITION_Y 40",
        "ABS_PRESSURE 128",
    ]  # fmt: skip
    assert "BTN_TOUCH 0" not in [str(one) for one in fingers.up(0)]
    assert [str(one) for one in fingers.up(1)][-1] == "BTN_TOUCH 0"


def test_a_swipe_uses_a_slot_for_each_finger() -> None:
    """Side by side, within the device, and all are lifted."""
    info = device()
    fingers = Touches(info)
    script = fingers.swipe((900, 0), (980, 500), 0.1, 3)
    check(info, script)
    assert release_packets((packet for _, packet in script), {}) == []
    slots = {e.value for _, packet in script for e in packet if e.code == ABS["ABS_MT_SLOT"]}
    assert slots == {0, 1, 2}
    with pytest.raises(BadEvent, match="room for 4 more fingers"):
        fingers.swipe((0, 0), (1, 1), 0.0, 5)


def test_fingers_are_where_they_can_be() -> None:
    """A finger is not put down twice, nor moved before it is down."""
    fingers = Touches(device())
    with pytest.raises(BadEvent, match="no finger"):
        fingers.move(1, 1, 0)
    fingers.down(1, 1, 0)
    with pytest.raises(BadEvent, match="down already"):
        fingers.down(2, 2, 0)


def test_an_interrupted_script_is_undone() -> None:
    """In one packet: the finger, its pressure, keys in the reverse order of those that are down."""
    fingers = Touches(device())
    sent = [
        (event("KEY_A", 1),),
        (event("BTN_LEFT", 1),),
        (event("KEY_A", 0),),
        (event("KEY_A", 1),),
        fingers.down(1, 1, 2),
    ]
    packets = release_packets(sent, {ABS["ABS_PRESSURE"]: 0})
    assert [[str(one) for one in packet] for packet in packets] == [
        [
            "ABS_MT_SLOT 2", "ABS_MT_TRACKING_ID -1", "ABS_PRESSURE 0",
            "BTN_TOUCH 0", "KEY_A 0", "BTN_LEFT 0",
        ],
    ]  # fmt: skip


def test_an_axis_without_a_range_has_no_fractions() -> None:
    """Nobody knows where the half of it is; tracking IDs are those that Linux gives."""
    with pytest.raises(BadEvent, match="states no range"):
        Axis(0, 0).at(0.5)
    info = device()
    info.axes[ABS["ABS_MT_TRACKING_ID"]] = Axis(1, 0)
    fingers = Touches(info)
    down = [str(one) for one in (*fingers.down(1, 1, 0), *fingers.up(0), *fingers.down(1, 1, 0))]
    assert [one for one in down if "TRACKING" in one] == [
        "ABS_MT_TRACKING_ID 0", "ABS_MT_TRACKING_ID -1", "ABS_MT_TRACKING_ID 1",
    ]  # fmt: skip
