"""BlockDeviceService holds a few pieces of a stream, however long the stream is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from virtmesh.blk.kernel_service import READ_AHEAD, READ_CHUNK, WRITE_AHEAD, BlockDeviceService
from virtmesh.testing.memory_disk import MemoryDisk
from virtmesh_common.api.kernel.v1 import block_device_pb2 as pb
from virtmesh_common.blk.errors import BlockIOError

BLOCKS = 24
PIECE = READ_CHUNK


class Client:
    """The client's end of a call: takes a response only when there is room for it."""

    def __init__(self, room: int) -> None:
        self.responses: list[Any] = []
        self.room = asyncio.Semaphore(room)

    async def write(self, response: Any) -> None:
        """Take a response."""
        await self.room.acquire()
        self.responses.append(response)


class Messages:
    """The messages of a write: a header, then as many pieces as anyone asks for."""

    def __init__(self, pieces: int) -> None:
        self.pieces = pieces
        self.taken = 0

    async def __aiter__(self) -> AsyncIterator[pb.WriteRequest]:
        yield pb.WriteRequest(header=pb.WriteHeader(device="mem"))
        for _ in range(self.pieces):
            self.taken += 1
            yield pb.WriteRequest(data=bytes(PIECE))


def make_disk() -> MemoryDisk:
    """Make a disk whose blocks are as large as the pieces of a stream."""
    return MemoryDisk(BLOCKS, PIECE, PIECE)


async def settle() -> None:
    """Let every task run until it waits."""
    for _ in range(200):
        await asyncio.sleep(0)


async def test_a_slow_reader_is_not_read_ahead_of() -> None:
    """A client that takes one piece makes the disk read a few; the rest when it takes more."""
    disk, client = make_disk(), Client(room=1)
    read = asyncio.create_task(
        BlockDeviceService(lambda _: disk).Read(pb.ReadRequest(device="mem"), client)
    )
    await settle()

    assert len(client.responses) == 1
    assert len(disk.log) <= 1 + READ_AHEAD
    for _ in range(BLOCKS):
        client.room.release()
    await read
    assert b"".join(response.data for response in client.responses) == disk.data


async def test_a_reader_that_leaves_stops_the_reading() -> None:
    """When the call is cancelled, nothing more is read and nothing is left running."""
    disk, client = make_disk(), Client(room=1)
    read = asyncio.create_task(
        BlockDeviceService(lambda _: disk).Read(pb.ReadRequest(device="mem"), client)
    )
    await settle()
    read.cancel()

    with pytest.raises(asyncio.CancelledError):
        await read
    assert disk.running == 0
    assert len(disk.log) <= 1 + READ_AHEAD


async def test_a_slow_disk_holds_the_writer_up() -> None:
    """No more messages are taken than the disk is being given."""
    disk, client, messages = make_disk(), Client(room=1000), Messages(BLOCKS)
    disk.gate = asyncio.Event()
    write = asyncio.create_task(BlockDeviceService(lambda _: disk).Write(aiter(messages), client))
    await settle()

    assert messages.taken == WRITE_AHEAD
    disk.gate.set()
    await write
    assert [one.written_bytes for one in client.responses] == [
        PIECE * (number + 1) for number in range(BLOCKS)
    ]
    assert disk.data == bytes(disk.capacity)


async def test_a_failed_write_takes_no_more_messages() -> None:
    """The error says how much was written without gaps, and nothing is left running."""
    disk, client, messages = make_disk(), Client(room=1000), Messages(BLOCKS)
    disk.bad_blocks = {10}

    with pytest.raises(BlockIOError) as caught:
        await BlockDeviceService(lambda _: disk).Write(aiter(messages), client)

    assert caught.value.metadata["written_bytes"] == str(10 * PIECE)
    assert client.responses[-1].written_bytes == 10 * PIECE
    assert messages.taken <= 11 + WRITE_AHEAD
    assert disk.running == 0
