"""Who holds which keys and touches, and what the driver sees of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtmesh.input.held_keys import Event, HeldKeys, InjectorState
from virtmesh_common.evdev import code_of

KEY, A = code_of("KEY_A")
_, B = code_of("KEY_B")
ABS, SLOT = code_of("ABS_MT_SLOT")
_, ID = code_of("ABS_MT_TRACKING_ID")
_, X = code_of("ABS_MT_POSITION_X")
SYN = (0, 0, 0)


def key(code: int, value: int) -> Event:
    """Make an event of a key."""
    return (KEY, code, value)


def slot(number: int) -> Event:
    """Choose a slot."""
    return (ABS, SLOT, number)


def touch(number: int) -> Event:
    """Begin a touch, or end it with -1."""
    return (ABS, ID, number)


@pytest.fixture
def held_keys() -> HeldKeys:
    """Make the held keys of a device with slots."""
    return HeldKeys(has_slots=True)


def test_one_stream_is_passed_through(held_keys: HeldKeys) -> None:
    """Whatever a lone stream does, the driver sees it, repeats and doubles too."""
    events = [key(A, 1), key(A, 1), key(A, 2), key(A, 0), key(A, 0), key(B, 2), SYN]
    assert held_keys.apply(InjectorState(), events) == events


def test_what_is_held_is_released_newest_first(held_keys: HeldKeys) -> None:
    """In one packet; a second end of the stream releases nothing."""
    injector = InjectorState()
    held_keys.apply(injector, [key(A, 1), key(B, 1), key(A, 0), key(A, 1)])
    assert held_keys.release(injector) == [key(A, 0), key(B, 0)]
    assert held_keys.release(injector) == []
    assert held_keys.keys == []


def test_a_key_of_two_streams(held_keys: HeldKeys) -> None:
    """Pressed by the first, released by the last."""
    one, two = InjectorState(), InjectorState()
    assert held_keys.apply(one, [key(A, 1), SYN]) == [key(A, 1), SYN]
    assert held_keys.apply(two, [key(A, 1), SYN]) == [SYN]
    assert held_keys.apply(one, [key(A, 0), SYN]) == [SYN]
    assert held_keys.apply(two, [key(A, 0), SYN]) == [key(A, 0), SYN]


def test_a_stream_can_not_release_the_key_of_another(held_keys: HeldKeys) -> None:
    """Only `release_all` does that."""
    one, two = InjectorState(), InjectorState()
    held_keys.apply(one, [key(A, 1)])
    assert held_keys.apply(two, [key(A, 0)]) == []
    assert held_keys.keys == [A]
    assert held_keys.release(two) == []


def test_a_stream_that_ends_leaves_the_others_their_keys(held_keys: HeldKeys) -> None:
    """The key is up when the last one that holds it ends."""
    one, two = InjectorState(), InjectorState()
    held_keys.apply(one, [key(A, 1)])
    held_keys.apply(two, [key(A, 1)])
    assert held_keys.release(one) == []
    assert held_keys.release(two) == [key(A, 0)]


def test_release_all(held_keys: HeldKeys) -> None:
    """One packet for every touch and key of every stream; then nobody holds anything."""
    one, two = InjectorState(), InjectorState()
    held_keys.apply(one, [key(A, 1)])
    held_keys.apply(two, [slot(2), touch(7), key(B, 1), key(A, 1)])
    held_keys.apply(one, [touch(8)])
    assert held_keys.release_all() == [
        touch(-1),
        slot(2),
        touch(-1),
        key(B, 0),
        key(A, 0),
    ]
    assert held_keys.release(one) == []
    assert held_keys.release(two) == []


def test_slots_are_said_again_after_another_stream(held_keys: HeldKeys) -> None:
    """Each stream has a slot of its own, the first one at its start."""
    one, two = InjectorState(), InjectorState()
    assert held_keys.apply(one, [(ABS, X, 1)]) == [(ABS, X, 1)]
    assert held_keys.apply(two, [slot(1), touch(5), (ABS, X, 2)]) == [
        slot(1),
        touch(5),
        (ABS, X, 2),
    ]
    assert held_keys.apply(one, [touch(6), (ABS, X, 3)]) == [slot(0), touch(6), (ABS, X, 3)]
    assert held_keys.apply(two, [(ABS, X, 4), touch(-1)]) == [slot(1), (ABS, X, 4), touch(-1)]


def test_after_a_driver_the_slot_is_said_again(held_keys: HeldKeys) -> None:
    """What the next driver thinks of it is not known."""
    injector = InjectorState()
    held_keys.forget_slot()
    assert held_keys.apply(injector, [(ABS, X, 1), (ABS, X, 2)]) == [
        slot(0),
        (ABS, X, 1),
        (ABS, X, 2),
    ]


def test_a_touch_belongs_to_who_began_it_last(held_keys: HeldKeys) -> None:
    """The former one's end of it is left out, and it releases nothing."""
    one, two = InjectorState(), InjectorState()
    held_keys.apply(one, [slot(1), touch(5)])
    assert held_keys.apply(two, [slot(1), touch(6)]) == [slot(1), touch(6)]
    assert held_keys.apply(one, [touch(-1), SYN]) == [SYN]
    assert held_keys.release(one) == []
    assert held_keys.release(two) == [touch(-1)]


def test_a_device_without_slots_has_none() -> None:
    """An axis of that number is one like any other there."""
    held_keys, injector = HeldKeys(has_slots=False), InjectorState()
    events = [touch(3), (ABS, X, 1)]
    assert held_keys.apply(injector, events) == events
    assert held_keys.release(injector) == []


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from([A, B]), st.sampled_from([0, 1])), max_size=60
    )
)
def test_the_driver_sees_what_at_least_one_stream_holds(
    steps: list[tuple[int, int, int]],
) -> None:
    """After every step a key is down for the driver if, and only if, some stream holds it."""
    held_keys, injectors = (
        HeldKeys(has_slots=True),
        [InjectorState(), InjectorState(), InjectorState()],
    )
    down: set[int] = set()
    wanted: list[set[int]] = [set(), set(), set()]
    for who, code, value in steps:
        for _, seen, state in held_keys.apply(injectors[who], [key(code, value)]):
            (down.add if state else down.discard)(seen)
        (wanted[who].add if value else wanted[who].discard)(code)
        assert down == set.union(*wanted)
        assert held_keys.keys == sorted(down)
