"""Which packets a device takes, and what it says of the others."""

from __future__ import annotations

import pytest

from virtmesh.input.checks import EVENTS_MAX, Checker
from virtmesh.input.held_keys import Event
from virtmesh.input.personality import load
from virtmesh_common.api.input.v1 import input_pb2 as pb
from virtmesh_common.evdev import code_of
from virtmesh_common.input.errors import BadEvent

SYN = (0, 0, 0)


def named(name: str, value: int) -> Event:
    """Make an event by name."""
    return (*code_of(name), value)


def check(kind: str, *events: Event) -> list[Event]:
    """Check a packet of number 7."""
    return Checker("dev", load(kind)).check(request(*events))


def request(*events: Event) -> pb.InjectRequest:
    """Make a packet of number 7."""
    return pb.InjectRequest(
        sequence=7, events=[pb.Event(type=one, code=two, value=three) for one, two, three in events]
    )


def test_the_end_is_added() -> None:
    """SYN_REPORT comes last, whether it was sent or not; what was sent stays as it was."""
    press = named("KEY_A", 1)
    assert check("keyboard", press) == [press, SYN]
    assert check("keyboard", press, SYN) == [press, SYN]
    assert check("keyboard", press, (0, 0, 1)) == [press, (0, 0, 1)]
    assert check("keyboard", SYN) == [SYN]


@pytest.mark.parametrize(
    ("kind", "event"),
    [
        ("keyboard", named("KEY_A", 2)),
        ("keyboard", named("MSC_SCAN", -(1 << 31))),
        ("mouse", named("REL_X", -(1 << 31))),
        ("mouse", named("REL_WHEEL", (1 << 31) - 1)),
        ("tablet", named("ABS_X", 0)),
        ("tablet", named("ABS_X", 32767)),
        ("multitouch", named("ABS_MT_TRACKING_ID", -1)),
        ("multitouch", named("ABS_MT_TRACKING_ID", 65535)),
        ("multitouch", named("ABS_MT_ORIENTATION", -90)),
    ],
)
def test_values_up_to_the_limits(kind: str, event: Event) -> None:
    """The smallest and the largest value are taken."""
    assert check(kind, event) == [event, SYN]


@pytest.mark.parametrize(
    ("kind", "event", "says"),
    [
        ("keyboard", named("KEY_A", 3), "KEY_A is from 0 to 2, not "),
        ("keyboard", named("KEY_A", -1), "KEY_A is from 0 to 2, not "),
        ("keyboard", named("REL_X", 1), "dev has no EV_REL: it has EV_KEY, EV_MSC$"),
        ("keyboard", named("KEY_MACRO1", 1), "dev has no KEY_MACRO1; the nearest that it has are"),
        ("keyboard", named("LED_CAPSL", 1), "EV_LED is for the driver to send"),
        ("keyboard", named("REP_DELAY", 1), "EV_REP is for the driver to send"),
        ("keyboard", named("SYN_DROPPED", 0), "SYN_REPORT ends a packet"),
        ("keyboard", (0x1F, 0, 0), "dev has no 0x1f"),
        ("keyboard", (0, 0x10001, 0), "SYN_REPORT ends a packet"),
        ("keyboard", (0x10001, 30, 1), "dev has no 0x10001"),
        ("keyboard", (1, 0xFFFF_FFFF, 1), "dev has no 0xffffffff"),
        ("mouse", named("REL_DIAL", 1), "dev has no REL_DIAL: it has REL_X, REL_Y, REL_HWHEEL"),
        ("mouse", named("BTN_FORWARD", 1), "it has BTN_LEFT, BTN_RIGHT, BTN_MIDDLE"),
        ("tablet", named("ABS_X", 32768), "ABS_X is from 0 to 32767, not 32768"),
        ("tablet", named("ABS_X", -1), "ABS_X is from 0 to 32767, not -1"),
        ("tablet", named("ABS_Z", 0), "it has ABS_X, ABS_Y, ABS_PRESSURE"),
        ("multitouch", named("ABS_MT_SLOT", 10), "ABS_MT_SLOT is from 0 to 9, not 10"),
        ("multitouch", named("ABS_MT_TRACKING_ID", -2), "is from -1 to 65535"),
    ],
)
def test_what_the_device_does_not_have(kind: str, event: Event, says: str) -> None:
    """The error says which event of which packet, and what the device has."""
    with pytest.raises(BadEvent, match=f"event 0 of packet 7: .*{says}") as caught:
        check(kind, event)
    assert caught.value.metadata == {"sequence": "7", "index": "0"}


def test_an_end_in_the_middle() -> None:
    """It would make two packets of one, which others could get between."""
    with pytest.raises(BadEvent, match="send two packets") as caught:
        check("keyboard", named("KEY_A", 1), SYN, named("KEY_A", 0))
    assert caught.value.metadata["index"] == "1"


@pytest.mark.parametrize(("count", "index"), [(0, 0), (EVENTS_MAX + 1, EVENTS_MAX)])
def test_packets_of_a_wrong_length(count: int, index: int) -> None:
    """An empty packet is none, and a packet has an end."""
    with pytest.raises(BadEvent, match=f"a packet has 1 to 1024 events, not {count}") as caught:
        check("mouse", *[named("REL_X", 1)] * count)
    assert caught.value.metadata["index"] == str(index)


def test_the_longest_packet() -> None:
    """1024 events, and the end that is added."""
    assert len(check("mouse", *[named("REL_X", 1)] * EVENTS_MAX)) == EVENTS_MAX + 1
