"""An injector that is cut off at any moment leaves a device that nothing touches.

The judge is a receiver of its own (tests.support.evdev_state). The recordings are those of real
kinds of devices: touch screens, touchpads, pens, keyboards, by protocols A and B.
"""

from __future__ import annotations

import pytest

from tests.support.evdev_state import EvdevState
from tests.support.recordings import REAL, load_real, personality_of
from virtmesh.input.held_keys import Event, HeldKeys, InjectorState
from virtmesh_client.input.replay import fit
from virtmesh_client.input.script import release_packets
from virtmesh_common.evdev import code_of
from virtmesh_common.input.events import Event as InputEvent
from virtmesh_common.input.events import close_packet
from virtmesh_common.input.release import ABS_MT_SLOT, resting_values

SYN = (0, 0, 0)
TOUCHSCREEN = {code_of(name)[1]: 0 for name in ("ABS_PRESSURE",)}


def named(**values: int) -> list[Event]:
    """Make events by the names of their codes."""
    return [(*code_of(name), value) for name, value in values.items()]


def down(slot: int, tracking_id: int, *, touch: bool = True) -> list[Event]:
    """Put a finger down as a touch screen says it."""
    begin = named(
        ABS_MT_SLOT=slot, ABS_MT_TRACKING_ID=tracking_id, ABS_MT_POSITION_X=5, ABS_PRESSURE=40
    )
    return [*begin, *(named(BTN_TOUCH=1) if touch else []), SYN]


def packets_of(name: str) -> tuple[list[list[Event]], HeldKeys, EvdevState, dict[int, int]]:
    """Return what a recording sends to its own device, that device, and the judge."""
    recording = load_real(name)
    device = personality_of(recording)
    assert recording.device is not None
    whole = fit(recording, recording.device, skip_missing=False, out_of_range="send")
    resting = resting_values(device.axes)
    has_slots = ABS_MT_SLOT in device.axes
    packets: list[list[Event]] = [list(close_packet(packet)) for _, packet in whole.packets()]
    return packets, HeldKeys(has_slots=has_slots, resting=resting), EvdevState(has_slots), resting


@pytest.mark.parametrize("name", REAL)
def test_a_cut_after_any_packet_leaves_nothing_down(name: str) -> None:
    """However far the recording came, one more packet makes the device neutral."""
    count = len(packets_of(name)[0])
    for cut in range(count + 1):
        packets, held, state, _ = packets_of(name)
        injector = InjectorState()
        for packet in packets[:cut]:
            state.take(held.apply(injector, packet))
        release = held.release(injector)
        state.faults.clear()
        state.take([*release, SYN] if release else [])
        assert state.is_neutral, f"{name}, cut after packet {cut}: {state}"
        assert not state.faults
        assert state.frames == cut + bool(release)
        assert held.release(injector) == []


@pytest.mark.parametrize("name", REAL)
def test_an_interrupted_call_leaves_nothing_down(name: str) -> None:
    """The client library lets go by itself, in the same way."""
    count = len(packets_of(name)[0])
    for cut in range(count + 1):
        packets, _, state, resting = packets_of(name)
        for packet in packets[:cut]:
            state.take(packet)
        state.faults.clear()
        sent = [tuple(InputEvent(*one) for one in packet) for packet in packets[:cut]]
        for release in release_packets(sent, resting):
            state.take(list(close_packet(release)))
        assert state.is_neutral, f"{name}, interrupted after packet {cut}: {state}"
        assert not state.faults


def test_the_packet_of_a_touch_screen() -> None:
    """Touches end, the pressure goes back, BTN_TOUCH goes up: one packet, in this order."""
    held, injector = HeldKeys(has_slots=True, resting=TOUCHSCREEN), InjectorState()
    held.apply(injector, down(0, 7))
    held.apply(injector, down(1, 8, touch=False))
    assert held.release(injector) == [
        *named(ABS_MT_TRACKING_ID=-1),
        *named(ABS_MT_SLOT=0, ABS_MT_TRACKING_ID=-1, ABS_PRESSURE=0, BTN_TOUCH=0),
    ]


def test_a_touch_of_another_injector_stays_a_touch() -> None:
    """While its finger is down, neither BTN_TOUCH nor the pressure says otherwise."""
    held, state = HeldKeys(has_slots=True, resting=TOUCHSCREEN), EvdevState(has_slots=True)
    one, two = InjectorState(), InjectorState()
    state.take(held.apply(one, down(0, 7)))
    state.take(held.apply(two, down(1, 8, touch=False)))
    state.take([*held.release(one), SYN])
    assert (state.touches, state.pressure, state.faults) == ({1}, 40, [])
    state.take([*held.release(two), SYN])
    assert state.is_neutral
    assert not state.faults


def test_release_all_lets_go_of_everybodys_contacts() -> None:
    """In one packet, also where two have their fingers on one screen."""
    held, state = HeldKeys(has_slots=True, resting=TOUCHSCREEN), EvdevState(has_slots=True)
    one, two = InjectorState(), InjectorState()
    state.take(held.apply(one, down(0, 7)))
    state.take(held.apply(two, down(1, 8)))
    state.take([*held.release_all(), SYN])
    assert state.is_neutral
    assert not state.faults
    assert held.release(one) == held.release(two) == []


def test_a_pressure_without_a_key_goes_back_too() -> None:
    """Whoever pressed is known by the axis alone."""
    held, injector = HeldKeys(has_slots=False, resting=TOUCHSCREEN), InjectorState()
    held.apply(injector, [*named(ABS_PRESSURE=9), SYN])
    assert held.release(injector) == named(ABS_PRESSURE=0)


def test_a_keyboard_of_another_injector_leaves_the_pressure_alone() -> None:
    """Only who touched lets go of the surface."""
    held = HeldKeys(has_slots=False, resting=TOUCHSCREEN)
    pen, typist = InjectorState(), InjectorState()
    held.apply(pen, [*named(ABS_PRESSURE=9), SYN])
    held.apply(typist, [*named(KEY_A=1), SYN])
    assert held.release(typist) == named(KEY_A=0)
