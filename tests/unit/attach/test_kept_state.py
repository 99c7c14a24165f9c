"""What a device keeps for its next process: every store may be the last one."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from virtmesh_native import GuestMemory

from virtmesh.mmio.kept_state import PAGE, SLOT_BYTES, KeptState

SIZE = PAGE + 2 * 512


class Killed(Exception):
    """The process ends at this store."""


class Memory:
    """Memory that ends its process at a store. One of a word is whole or is not made."""

    def __init__(self, memory: GuestMemory, stores: int | None = None) -> None:
        self._memory = memory
        self._stores = stores

    def read(self, address: int, length: int) -> bytes:
        """Read."""
        return self._memory.read(address, length)

    def write(self, address: int, data: bytes) -> None:
        """Write; the last store writes a part, if it is longer than a word."""
        if self._stores is not None:
            self._stores -= 1
            if self._stores < 0:
                if len(data) > 8:
                    self._memory.write(address, data[: len(data) // 2])
                raise Killed
        self._memory.write(address, data)


@pytest.fixture
def memory() -> Iterator[GuestMemory]:
    """Give memory of a file."""
    descriptor = os.memfd_create("kept", os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, PAGE + SIZE + -SIZE % PAGE)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    yield GuestMemory([(descriptor, 0, PAGE + SIZE + -SIZE % PAGE, 0)])
    os.close(descriptor)


def opened(memory: GuestMemory, stores: int | None = None) -> KeptState:
    """Open the state, as another process does."""
    return KeptState(Memory(memory, stores), PAGE, SIZE)  # type: ignore[arg-type]


def test_records_are_kept(memory: GuestMemory) -> None:
    """In order; after a rewrite the new ones alone; none after a reset."""
    state = opened(memory)
    assert state.records(99) == []
    records = [b"one", b"", b"three" * 20]
    assert all(state.append(one) for one in records)
    assert not state.is_confirmed
    state.confirm()
    assert opened(memory).is_confirmed
    assert opened(memory).records(99) == records
    assert state.rewrite([b"four"])
    assert state.append(b"five")
    assert opened(memory).records(99) == [b"four", b"five"]
    state.clear()
    assert opened(memory).records(99) == []
    assert opened(memory).is_confirmed


def test_more_records_than_are_wanted(memory: GuestMemory) -> None:
    """They are none: nobody reads for ever."""
    state = opened(memory)
    assert state.rewrite([b""] * 100)
    assert opened(memory).records(100) == [b""] * 100
    assert opened(memory).records(99) == []


def test_what_has_no_room_changes_nothing(memory: GuestMemory) -> None:
    """Neither a record nor a rewrite."""
    state = opened(memory)
    assert state.append(b"a" * 500)
    assert not state.append(b"b" * 20)
    assert not state.rewrite([b"c" * 600])
    assert opened(memory).records(99) == [b"a" * 500]


def test_nothing_is_written_when_the_driver_is_gone(memory: GuestMemory) -> None:
    """A reset for that is not the driver's."""
    state = opened(memory)
    state.append(b"kept")
    state.write_slot(1, b"slot")
    state.freeze()
    state.clear()
    state.confirm()
    state.write_slot(1, b"lost")
    assert not state.append(b"late")
    assert opened(memory).records(99) == [b"kept"]
    assert opened(memory).read_slot(1, 4) == b"slot"
    assert not opened(memory).is_confirmed


@pytest.mark.parametrize("stores", range(12))
def test_a_kill_at_any_store(memory: GuestMemory, stores: int) -> None:
    """What is there is what was there before or after it, and never a part."""
    state = opened(memory, stores)
    states: list[list[bytes]] = [[]]  # What may be found: the last two.
    try:
        for record in (b"one" * 9, b"two" * 9):
            states.append([*states[-1], record])
            state.append(record)
            states = states[-1:]
            state.confirm()
        states.append([b"three" * 9])
        state.rewrite(states[-1])
        states = states[-1:]
        states.append([*states[-1], b"four" * 9])
        state.append(b"four" * 9)
        states = states[-1:]
    except Killed:
        pass
    assert opened(memory).records(99) in states


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(head=st.binary(min_size=16, max_size=16), data=st.binary(max_size=SIZE - PAGE))
def test_whatever_is_there_is_read(memory: GuestMemory, head: bytes, data: bytes) -> None:
    """What makes no sense is no record."""
    memory.write(PAGE, head)
    memory.write(2 * PAGE, data)
    records = opened(memory).records(99)
    assert sum(map(len, records)) <= 512
    assert len(opened(memory).read_slot(0, SLOT_BYTES)) == SLOT_BYTES
