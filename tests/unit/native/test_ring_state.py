"""virtmesh_native.RingState: where a ring goes on, as vhost-user says it and as bytes."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from virtmesh_native import RingState

from virtmesh_common.errors import DriverViolation

PACKED = struct.Struct("<HBBHH")
"""le16 version, u8 format, u8 wrap counters, le16 next_avail, le16 next_used."""


def test_a_new_split_ring_begins_at_0() -> None:
    """Its used index is in the ring, so the state has none."""
    state = RingState.initial(packed=False)
    assert (state.packed, state.next_avail, state.next_used) == (False, 0, None)
    assert (state.avail_wrap, state.used_wrap, state.vring_base) == (None, None, 0)


def test_a_new_packed_ring_begins_with_both_wrap_counters_set() -> None:
    """Virtio 1.4, 2.8.1."""
    state = RingState.initial(packed=True)
    assert (state.next_avail, state.next_used) == (0, 0)
    assert (state.avail_wrap, state.used_wrap) == (True, True)
    assert state.vring_base == 0x8000_8000


def test_a_packed_base_has_two_indexes_and_two_wrap_counters() -> None:
    """The layout of vhost-user's packed vring base."""
    state = RingState.from_vring_base(3 | 1 << 15 | 2 << 16, packed=True)
    assert (state.next_avail, state.avail_wrap) == (3, True)
    assert (state.next_used, state.used_wrap) == (2, False)


@pytest.mark.parametrize(
    ("base", "packed", "size"),
    [
        (1 << 16, False, None),
        (8 | 1 << 15 | 0 << 16 | 1 << 31, True, 8),
        (5 | 1 << 15 | 2 << 16, True, 4),
    ],
    ids=["a split base of 17 bits", "avail behind the ring", "outside a ring of 4"],
)
def test_an_impossible_base_is_refused(base: int, packed: bool, size: int | None) -> None:  # noqa: FBT001
    """It comes from a front end, which may say anything."""
    with pytest.raises(DriverViolation):
        RingState.from_vring_base(base, packed=packed, size=size)


@given(st.integers(0, 0xFFFF))
def test_a_split_state_survives_its_bytes(index: int) -> None:
    """And the base of vhost-user."""
    state = RingState.from_vring_base(index, packed=False)
    assert RingState.from_bytes(state.to_bytes()) == state
    assert state.vring_base == index


@given(st.integers(0, 0xFFFF_FFFF))
def test_a_packed_state_survives_its_bytes(base: int) -> None:
    """As far as the base is possible at all."""
    try:
        state = RingState.from_vring_base(base, packed=True)
    except DriverViolation:
        return
    assert RingState.from_bytes(state.to_bytes()) == state
    assert state.vring_base == base


@given(st.binary(max_size=32))
def test_hostile_bytes_are_refused_or_are_a_state(data: bytes) -> None:
    """Never anything else; and a state that is taken says the same bytes again."""
    try:
        state = RingState.from_bytes(data)
    except ValueError:
        return
    assert state.to_bytes() == data


def test_another_version_is_refused() -> None:
    """A later version may mean something else by the same bytes."""
    later = PACKED.pack(RingState.VERSION + 1, 0, 0, 1, 0)
    with pytest.raises(ValueError, match="version"):
        RingState.from_bytes(later)
