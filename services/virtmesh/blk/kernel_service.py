"""BlockDeviceService: disks for clients, any range at a time, streams with back-pressure.

A stream holds a few pieces at a time: the next piece is asked of the disk, or of the client, only
when there is room for it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from virtmesh.blk.block_device import BlockDevice, split
from virtmesh.kinds.service import wrong_kind
from virtmesh_common.api.kernel.v1 import block_device_pb2 as pb
from virtmesh_common.api.kernel.v1 import block_device_pb2_grpc
from virtmesh_common.channel import CHUNK_LIMIT_BYTES
from virtmesh_common.errors import BadStream, MessageTooLarge, VirtmeshError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import grpc.aio


SERVICE = "virtmesh.kernel.v1.BlockDeviceService"
READ_CHUNK = 512 << 10
"""Bytes of one message that is read: large enough that the work for each message fades."""
READ_AHEAD = 4
"""Pieces of a read that are on their way to a client at once."""
WRITE_AHEAD = 4
"""Pieces of a write that are on their way to the disk at once."""


class BlockDeviceService(block_device_pb2_grpc.BlockDeviceServiceServicer):
    """Serves virtmesh.kernel.v1.BlockDeviceService; `find` returns the driver of a device."""

    name = SERVICE

    def __init__(self, find: Callable[[str], object]) -> None:
        self._find_driver = find

    def add_to(self, server: grpc.aio.Server) -> None:
        """Add the service to a server."""
        block_device_pb2_grpc.add_BlockDeviceServiceServicer_to_server(self, server)

    def end_streams(self) -> None:
        """Do nothing: every call ends by itself."""

    def _find(self, name: str) -> BlockDevice:
        """Return a disk that is in use. Errors: DeviceNotFound; DeviceNotReady; WrongKind."""
        return as_disk(name, self._find_driver(name))

    async def Identify(self, request: pb.IdentifyRequest, context: Any) -> pb.IdentifyResponse:
        """Describe a disk."""
        disk = self._find(request.device)
        return pb.IdentifyResponse(
            capacity_bytes=disk.capacity,
            block_size_bytes=disk.block_size,
            read_only=disk.read_only,
            serial=disk.serial,
            write_back=disk.write_back,
            queues=disk.queue_count,
            request_size_max_bytes=disk.request_size_max,
            features=disk.features,
        )

    async def Read(  # type: ignore[override]  # the stubs know generators only
        self, request: pb.ReadRequest, context: Any
    ) -> None:
        """Stream a range, reading ahead as far as the client keeps up."""
        disk = self._find(request.device)
        start = request.offset_bytes
        length = request.length_bytes or max(disk.capacity - start, 0)
        disk.check_range(start, length)
        pieces = split(start, start + length, READ_CHUNK)
        ahead: deque[asyncio.Task[memoryview]] = deque()
        try:
            while True:
                while len(ahead) < READ_AHEAD and (piece := next(pieces, None)) is not None:
                    ahead.append(asyncio.create_task(disk.read(piece[0], piece[1] - piece[0])))
                if not ahead:
                    return
                data = await ahead[0]
                ahead.popleft()
                await context.write(pb.ReadResponse(data=bytes(data)))
        finally:
            await _cancel(ahead)

    async def Write(  # type: ignore[override]  # as for Read
        self, request_iterator: AsyncIterator[pb.WriteRequest], context: Any
    ) -> None:
        """Take a range, and report what is written without gaps."""
        header = await _header(request_iterator)
        disk = self._find(header.device)
        write = _Write(disk, header.offset_bytes, context)
        try:
            await write.run(request_iterator)
        except VirtmeshError as error:
            failed = error.again()
            failed.metadata["written_bytes"] = str(write.written)
            raise failed from error

    async def Flush(self, request: pb.FlushRequest, context: Any) -> pb.FlushResponse:
        """Make every completed write durable."""
        await self._find(request.device).flush()
        return pb.FlushResponse()

    async def Discard(self, request: pb.DiscardRequest, context: Any) -> pb.DiscardResponse:
        """Give a range up."""
        await self._find(request.device).discard(request.offset_bytes, request.length_bytes)
        return pb.DiscardResponse()

    async def WriteZeroes(
        self, request: pb.WriteZeroesRequest, context: Any
    ) -> pb.WriteZeroesResponse:
        """Fill a range with zeroes."""
        disk = self._find(request.device)
        await disk.write_zeroes(request.offset_bytes, request.length_bytes, unmap=request.unmap)
        return pb.WriteZeroesResponse()


def as_disk(name: str, driver: object) -> BlockDevice:
    """Return a driver that is one of a disk. Errors: WrongKind."""
    if not isinstance(driver, BlockDevice):
        raise wrong_kind(name, driver, "disk")
    return driver


class _Write:
    """One write stream: a task takes messages and begins writes, `run` reports their ends."""

    def __init__(self, disk: BlockDevice, offset: int, context: Any) -> None:
        self.written = 0
        """Bytes written without gaps."""
        self._disk = disk
        self._offset = offset
        self._context = context
        self._begun: deque[tuple[int, asyncio.Task[None]]] = deque()
        self._room = asyncio.Semaphore(WRITE_AHEAD)
        self._news = asyncio.Event()

    async def run(self, messages: AsyncIterator[pb.WriteRequest]) -> None:
        """Write everything that comes. Errors: of the disk; BadStream; MessageTooLarge."""
        taking = asyncio.create_task(self._take(messages))
        taking.add_done_callback(lambda _: self._news.set())
        reported = False
        try:
            while self._begun or not taking.done():
                if not self._begun:
                    self._news.clear()
                    await self._news.wait()
                    continue
                length, writing = self._begun[0]
                await asyncio.shield(writing)
                self._begun.popleft()
                self._room.release()
                self.written += length
                await self._report()
                reported = True
            await taking
            if not reported:
                await self._report()  # an empty write has a last response as well
        finally:
            taking.cancel()
            await asyncio.gather(
                taking, *(writing for _, writing in self._begun), return_exceptions=True
            )

    async def _take(self, messages: AsyncIterator[pb.WriteRequest]) -> None:
        """Begin a write for each message, a few at a time."""
        offset = self._offset
        await self._room.acquire()
        async for message in messages:
            if message.WhichOneof("content") != "data":
                raise BadStream("only the first message may be a header")
            if len(message.data) > CHUNK_LIMIT_BYTES:
                raise MessageTooLarge(
                    f"{len(message.data)} bytes in one message: send at most {CHUNK_LIMIT_BYTES}"
                )
            writing = asyncio.create_task(self._disk.write(offset, message.data))
            offset += len(message.data)
            self._begun.append((len(message.data), writing))
            self._news.set()
            await self._room.acquire()

    async def _report(self) -> None:
        """Tell the client how far the write is."""
        await self._context.write(pb.WriteResponse(written_bytes=self.written))


async def _header(messages: AsyncIterator[pb.WriteRequest]) -> pb.WriteHeader:
    """Take the first message of a write. Errors: BadStream."""
    async for message in messages:
        if message.WhichOneof("content") != "header":
            break
        return message.header
    raise BadStream("the first message must be a header: which device, and where")


async def _cancel(tasks: deque[asyncio.Task[memoryview]]) -> None:
    """Cancel what is on its way, and wait for its end."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
