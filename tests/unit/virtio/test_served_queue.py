"""A queue that is served, and its chains: bytes in split buffers, and where another one goes on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from virtmesh_native import DriverQueue, GuestMemory, Interrupt, QueueConfig, Recorder

from tests.support.native_rig import BASE, make_config, make_memory
from tests.support.recorded import rows
from virtmesh.virtio.served_queue import (
    REQUEST_TYPE_OTHER,
    Chain,
    MalformedChain,
    QueueCounters,
    ServedQueue,
)
from virtmesh_common.errors import RingCorrupt

DATA = BASE + 0x10_0000
MEMORY = make_memory()
LENGTHS = st.lists(st.integers(1, 50), min_size=1, max_size=6)
"""Lengths of the buffers of a chain, in bytes."""


class Rig:
    """A queue of 16 entries, and its driver."""

    def __init__(self, *, packed: bool = False, memory: GuestMemory = MEMORY) -> None:
        self.memory = memory
        self.interrupt = Interrupt()
        self.interrupt.recorder = Recorder(64)
        self.counters = QueueCounters()
        self.packed = packed
        config = make_config(packed=packed)
        self.driver = DriverQueue(memory, config)
        self.queue = self.serve(config)

    def serve(self, config: QueueConfig) -> ServedQueue:
        """Serve the queue."""
        return ServedQueue(0, self.memory, config, self.interrupt, self.counters)

    def resume(self) -> None:
        """Serve the queue with another device side, from where the last one stopped."""
        self.queue.running = False
        config = make_config(packed=self.packed, state=self.queue.state)
        self.queue = self.serve(config)

    def pop(self) -> Chain:
        """Take a chain that must be there. Errors: LookupError."""
        chain = self.queue.pop()
        if chain is None:
            raise LookupError("no chain is available")
        return chain


def place(lengths: list[int]) -> list[tuple[int, int]]:
    """Return buffers of these lengths, with a gap after each."""
    return [(DATA + 100 * index, length) for index, length in enumerate(lengths)]


@given(lengths=LENGTHS, data=st.data())
def test_bytes_are_read_however_they_are_split(lengths: list[int], data: st.DataObject) -> None:
    """Any part of a chain, from any offset (2.7.4.1)."""
    rig = Rig()
    content = bytes(number % 251 for number in range(sum(lengths)))
    position = 0
    for address, length in place(lengths):
        MEMORY.write(address, content[position : position + length])
        position += length
    rig.driver.add(place(lengths), [])
    chain = rig.pop()
    offset = data.draw(st.integers(0, len(content)))
    length = data.draw(st.integers(0, len(content) - offset))
    assert chain.read(length, offset) == content[offset : offset + length]
    assert (chain.readable_bytes, chain.writable_bytes) == (len(content), 0)


@given(lengths=LENGTHS, data=st.data())
def test_bytes_are_written_however_the_room_is_split(
    lengths: list[int], data: st.DataObject
) -> None:
    """And nothing else changes, between the buffers or behind them."""
    rig = Rig()
    MEMORY.write(DATA, b"." * 600)
    rig.driver.add([], place(lengths))
    chain = rig.pop()
    offset = data.draw(st.integers(0, sum(lengths)))
    sent = data.draw(st.binary(max_size=sum(lengths) - offset))
    assert chain.write(sent, offset) == len(sent)
    expected = (b"." * offset + sent).ljust(sum(lengths), b".")
    picture, position = bytearray(b"." * 600), 0
    for address, length in place(lengths):
        start = address - DATA
        picture[start : start + length] = expected[position : position + length]
        position += length
    assert MEMORY.read(DATA, 600) == picture


@given(lengths=LENGTHS, beyond=st.integers(1, 1 << 40), offset=st.integers(0, 50))
def test_bytes_that_are_not_there_make_a_chain_malformed(
    lengths: list[int], beyond: int, offset: int
) -> None:
    """Nothing is read or written before that shows, and the message has both numbers."""
    rig = Rig()
    total = sum(lengths)
    rig.driver.add(place(lengths), place(lengths))
    chain = rig.pop()
    MEMORY.write(DATA, b"." * 600)
    needed = total + beyond
    with pytest.raises(MalformedChain, match=f"{needed} bytes are needed, .* have {total}"):
        chain.read(needed - offset, offset)
    with pytest.raises(MalformedChain):
        chain.write(bytes(total), 1)
    assert MEMORY.read(DATA, 600) == b"." * 600


@pytest.mark.parametrize("packed", [False, True], ids=["split", "packed"])
def test_another_device_side_takes_what_was_in_flight(*, packed: bool) -> None:
    """In the same order, after what was used; chains of the first one do nothing any more."""
    rig = Rig(packed=packed)
    tokens = [rig.driver.add([], [buffer]) for buffer in place([8] * 5)]
    first, *held = [rig.pop() for _ in range(4)]
    first.push(first.write(b"one"))
    rig.resume()
    for chain in held:
        chain.push(chain.write(b"too late"))
    again = [rig.pop() for _ in range(4)]
    assert [chain.token for chain in again] == tokens[1:]
    assert rig.queue.pop() is None
    for chain in again:
        chain.push(chain.write(b"again"))
    assert rig.driver.pop_used() == [(tokens[0], 3), *((token, 5) for token in tokens[1:])]
    assert rig.counters.requests == 5


def test_only_the_first_malformed_chain_is_logged() -> None:
    """A driver may send any number of them: they are counted."""
    rig = Rig()
    for buffer in place([8] * 3):
        rig.driver.add([], [buffer])
    with capture_logs() as lines:
        for _ in range(3):
            rig.queue.refuse(rig.pop(), "it has no header")
    assert [line["reason"] for line in lines] == ["it has no header"]
    assert (rig.counters.malformed, rig.counters.requests) == (3, 0)
    assert [written for _, written in rig.driver.pop_used()] == [0, 0, 0]


def test_a_request_of_a_large_type_is_recorded_as_another_one() -> None:
    """An event has room for seven bits; the outcome is what the model says."""
    rig = Rig()
    rig.driver.add([], place([8]))
    chain = rig.pop()
    chain.begin(0x0100, value=1, extra=2)
    chain.push(status=3)
    assert [row for row in rows(rig.interrupt.recorder) if "REQUEST" in row[0]] == [
        ("REQUEST_START", REQUEST_TYPE_OTHER, 0, chain.token, 1, 2),
        ("REQUEST_END", REQUEST_TYPE_OTHER, 0, chain.token, 3, 0),
    ]


def test_a_chain_outside_memory_never_arrives() -> None:
    """The ring is corrupt then: a model has no bounds to check."""
    rig = Rig()
    rig.driver.add([], place([8]))
    rig.memory.write(BASE, (1 << 50).to_bytes(8, "little"))
    with pytest.raises(RingCorrupt, match="outside guest memory"):
        rig.queue.pop()
