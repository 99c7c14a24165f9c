"""BlockDeviceService: disks for clients, any range at a time, streams with back-pressure.

Three limits hold a stream, and each protects something else. gRPC limits the bytes between the
hosts, as long as the next message is asked for only when there is room for it. READ_AHEAD and
WRITE_AHEAD limit the memory of this service for one stream. The slots of the disk limit what is in
flight, and share it between all streams (see request.py).
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from virtmesh.blk.block_device import BlockDevice, split
from virtmesh.kinds.service import wrong_kind
from virtmesh_common.api.kernel.v1 import block_device_pb2 as pb
from virtmesh_common.api.kernel.v1 import block_device_pb2_grpc
from virtmesh_common.errors import BadStream, MessageTooLarge, VirtmeshError
from virtmesh_common.sizes import CHUNK_LIMIT_BYTES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import grpc.aio


SERVICE = "virtmesh.kernel.v1.BlockDeviceService"
READ_CHUNK = 512 << 10
"""Bytes of one message that is read: large enough that the work for each message fades."""
READ_AHEAD = 4
"""Most messages of one read that the disk reads at this time, or that wait for the client."""
WRITE_AHEAD = 4
"""Most messages of one write that are taken from the client and not written yet."""


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
        await _send_range(disk, start, length, context)

    async def Write(  # type: ignore[override]  # as for Read
        self, request_iterator: AsyncIterator[pb.WriteRequest], context: Any
    ) -> None:
        """Take a range, and report what is written without gaps."""
        header = await _take_header(request_iterator)
        disk = self._find(header.device)
        await _WriteStream(disk, header.offset_bytes, context).run(request_iterator)

    async def Flush(self, request: pb.FlushRequest, context: Any) -> pb.FlushResponse:
        """Make every completed write durable."""
        await self._find(request.device).flush()
        return pb.FlushResponse()

    async def Discard(self, request: pb.DiscardRequest, context: Any) -> pb.DiscardResponse:
        """Discard a range."""
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


async def _send_range(disk: BlockDevice, start: int, length: int, context: Any) -> None:
    """Send a range, reading ahead as far as the client keeps up. Errors: PastEnd; of the disk."""
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
        for reading in ahead:
            reading.cancel()
        await asyncio.gather(*ahead, return_exceptions=True)


async def _take_header(messages: AsyncIterator[pb.WriteRequest]) -> pb.WriteHeader:
    """Take the first message of a write. Errors: BadStream."""
    async for message in messages:
        if message.WhichOneof("content") != "header":
            break
        return message.header
    raise BadStream("the first message of a write must be a header: which device, and where")


class _WriteStream:
    """Writes the messages of one stream, from `offset` on, and reports after each.

    One task takes messages and begins their writes. `run` reports their ends, in order. When the
    call is cancelled or fails, no more messages are taken; a write that has begun ends whole.
    """

    def __init__(self, disk: BlockDevice, offset: int, context: Any) -> None:
        self.written = 0
        """Bytes written without gaps."""
        self._disk = disk
        self._offset = offset
        self._context = context
        self._begun: asyncio.Queue[tuple[int, asyncio.Task[None]] | None] = asyncio.Queue()
        self._writing: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(WRITE_AHEAD)

    async def run(self, messages: AsyncIterator[pb.WriteRequest]) -> None:
        """Write everything that comes.

        Errors: of the disk, BadStream and MessageTooLarge, with "written_bytes" in the metadata.
        """
        taking = asyncio.create_task(self._take(messages))
        try:
            await self._report_all()
            await taking
        except VirtmeshError as error:
            failed = error.again()
            failed.metadata["written_bytes"] = str(self.written)
            raise failed from error
        finally:
            taking.cancel()
            await self._writes_ended(taking)

    async def _take(self, messages: AsyncIterator[pb.WriteRequest]) -> None:
        """Begin a write for each message, as far as there is room; None ends the queue."""
        offset = self._offset
        try:
            await self._room.acquire()
            async for message in messages:
                if message.WhichOneof("content") != "data":
                    raise BadStream("only the first message of a write may be a header")
                size = len(message.data)
                if size > CHUNK_LIMIT_BYTES:
                    raise MessageTooLarge(
                        f"{size} bytes in one message: send at most {CHUNK_LIMIT_BYTES}"
                    )
                writing = self._disk.begin_write(offset, message.data)
                offset += size
                self._writing.add(writing)
                writing.add_done_callback(self._writing.discard)
                self._begun.put_nowait((size, writing))
                await self._room.acquire()
        finally:
            self._begun.put_nowait(None)

    async def _report_all(self) -> None:
        """Report the end of each write; an empty stream gets one report as well."""
        begun = await self._begun.get()
        if begun is None:
            await self._report()
        while begun is not None:
            size, writing = begun
            await asyncio.shield(writing)
            self._room.release()
            self.written += size
            await self._report()
            begun = await self._begun.get()

    async def _writes_ended(self, taking: asyncio.Task[None]) -> None:
        """Wait for the writes that have begun. Cancelling this wait cancels none of them.

        `asyncio.gather` would pass the cancellation on: the ranges of a write would be free while
        the device still has its requests.
        """
        ended, _ = await asyncio.wait({taking, *self._writing})
        for task in ended:
            if not task.cancelled():
                task.exception()  # It is reported already, or follows from one that is.

    async def _report(self) -> None:
        """Tell the client how far the write is."""
        await self._context.write(pb.WriteResponse(written_bytes=self.written))
