"""BlockDeviceService holds a few pieces of a stream, however long the stream is."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest

from tests.support.found_drivers import FoundDriver
from tests.support.scripted_blk import driving
from virtmesh.blk.kernel_service import BlockDeviceService
from virtmesh.blk.limits import DATA_MAX
from virtmesh.blk.ordered_write import WRITE_AHEAD
from virtmesh.blk.read_stream import FLOOR, MESSAGES, WINDOW_MAX
from virtmesh.testing.scripted_disk import ScriptedDisk
from virtmesh_common.api.kernel.v1 import block_device_pb2 as pb
from virtmesh_common.blk import spec as blk
from virtmesh_common.blk.errors import BlockIOError
from virtmesh_common.blk.spec import RequestStatus

BLOCKS = 24
PIECE = WINDOW_MAX // MESSAGES


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
        self.data = os.urandom(PIECE)
        self.taken = 0

    async def __aiter__(self) -> AsyncIterator[pb.WriteRequest]:
        yield pb.WriteRequest(header=pb.WriteHeader(device="vda"))
        for _ in range(self.pieces):
            self.taken += 1
            yield pb.WriteRequest(data=self.data)


REQUESTS = PIECE // DATA_MAX
"""Requests of one piece."""
MEMORY = 8 << 20
"""Guest memory with room for the largest requests in every slot."""


def make_model() -> ScriptedDisk:
    """Make a disk of BLOCKS pieces."""
    return ScriptedDisk(
        sectors=BLOCKS * PIECE // 512, config={blk.SIZE_MAX: DATA_MAX, blk.SEG_MAX: 1}
    )


async def settle() -> None:
    """Let every task run until it waits."""
    for _ in range(200):
        await asyncio.sleep(0)


async def test_a_slow_reader_is_not_read_ahead_of() -> None:
    """A client that takes one piece makes the disk read a few; the rest when it takes more."""
    model, client = make_model(), Client(room=1)
    async with driving(model, memory=MEMORY) as disk:
        read = asyncio.create_task(
            BlockDeviceService(FoundDriver(disk)).Read(pb.ReadRequest(device="vda"), client)
        )
        await settle()

        assert len(client.responses) == 1
        assert len(model.seen) <= 2 + 2 * MESSAGES
        for _ in range(BLOCKS * PIECE // FLOOR * MESSAGES):
            client.room.release()
        await read
        assert b"".join(response.data for response in client.responses) == model.data


async def test_a_reader_that_leaves_stops_the_reading() -> None:
    """When the call is cancelled, nothing more is read and nothing is left running."""
    model, client = make_model(), Client(room=1)
    async with driving(model, memory=MEMORY) as disk:
        read = asyncio.create_task(
            BlockDeviceService(FoundDriver(disk)).Read(pb.ReadRequest(device="vda"), client)
        )
        await settle()
        read.cancel()

        with pytest.raises(asyncio.CancelledError):
            await read
        assert disk.in_flight == 0
        assert len(model.seen) <= 2 + 2 * MESSAGES


async def test_a_slow_disk_holds_the_writer_up() -> None:
    """No more messages are taken than the disk is being given."""
    model, client, messages = make_model(), Client(room=1000), Messages(BLOCKS)
    model.hold = True
    async with driving(model, memory=MEMORY) as disk:
        write = asyncio.create_task(
            BlockDeviceService(FoundDriver(disk)).Write(aiter(messages), client)
        )
        held = await model.arrived(REQUESTS * WRITE_AHEAD)
        await settle()

        assert messages.taken == WRITE_AHEAD
        model.hold = False
        for request in held:
            model.answer(request)
        await write
        assert [one.written_bytes for one in client.responses] == [
            PIECE * (number + 1) for number in range(BLOCKS)
        ]
        assert model.data == messages.data * BLOCKS


async def test_a_failed_write_takes_no_more_messages() -> None:
    """The error says how much was written without gaps, and nothing is left running."""
    model, client, messages = make_model(), Client(room=1000), Messages(BLOCKS)
    model.bad_sectors = {10 * PIECE // 512}
    async with driving(model, memory=MEMORY) as disk:
        with pytest.raises(BlockIOError) as caught:
            await BlockDeviceService(FoundDriver(disk)).Write(aiter(messages), client)

        assert caught.value.metadata["written_bytes"] == str(10 * PIECE)
        assert client.responses[-1].written_bytes == 10 * PIECE
        assert messages.taken <= 11 + WRITE_AHEAD
        assert disk.in_flight == 0


async def test_a_client_that_goes_twice_cancels_no_write() -> None:
    """Its ranges stay held until the device has answered: nobody may overtake the write."""
    model, client, messages = make_model(), Client(room=1000), Messages(BLOCKS)
    model.hold = True
    async with driving(model, memory=MEMORY) as disk:
        write = asyncio.create_task(
            BlockDeviceService(FoundDriver(disk)).Write(aiter(messages), client)
        )
        held = await model.arrived(REQUESTS * WRITE_AHEAD)
        for _ in range(2):
            write.cancel()
            await settle()
        with pytest.raises(asyncio.CancelledError):
            await write
        overtaking = asyncio.create_task(disk.write(0, b"later".ljust(512)))
        await settle()

        assert disk.in_flight == len(held)
        model.hold = False
        for request in held:
            model.answer(request)
        await overtaking
        assert model.data[:PIECE] == b"later".ljust(512) + messages.data[512:]


async def test_an_error_and_then_a_cancelled_call_cancel_no_write() -> None:
    """The call waits for the other writes when it is cut: they go on all the same."""
    model, client, messages = make_model(), Client(room=1000), Messages(BLOCKS)
    model.hold = True
    async with driving(model, memory=MEMORY) as disk:
        write = asyncio.create_task(
            BlockDeviceService(FoundDriver(disk)).Write(aiter(messages), client)
        )
        held = await model.arrived(REQUESTS * WRITE_AHEAD)
        first, held = held[:REQUESTS], held[REQUESTS:]
        for request in first:
            model.answer(request, status=RequestStatus.VIRTIO_BLK_S_IOERR)
        await settle()
        write.cancel()
        with suppress(asyncio.CancelledError, BlockIOError):
            await write

        assert disk.in_flight == len(held)
        model.hold = False
        for request in held:
            model.answer(request)
        await disk.settle()
        assert disk.in_flight == 0


async def test_a_cancelled_stream_ends_what_it_has_begun() -> None:
    """The messages that were taken are written whole before the call is over; no more are taken."""
    model, client, messages = make_model(), Client(room=1000), Messages(BLOCKS)
    model.hold = True
    async with driving(model, memory=MEMORY) as disk:
        write = asyncio.create_task(
            BlockDeviceService(FoundDriver(disk)).Write(aiter(messages), client)
        )
        held = await model.arrived(REQUESTS * WRITE_AHEAD)
        write.cancel()
        await settle()

        assert not write.done()
        model.hold = False
        for request in held:
            model.answer(request)
        with pytest.raises(asyncio.CancelledError):
            await write
        assert messages.taken == WRITE_AHEAD
        assert model.data == (messages.data * WRITE_AHEAD).ljust(BLOCKS * PIECE, b"\0")
