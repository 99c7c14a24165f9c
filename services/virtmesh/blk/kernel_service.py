"""BlockDeviceService: disks for clients, any range at a time, streams with back-pressure.

Three limits hold a stream, and each protects something else. gRPC limits the bytes between the
hosts, as long as the next message is asked for only when there is room for it. The room for data
limits the memory of this service, over all streams and for each (see data_room.py). The slots of
the disk limit what is in flight, and share it between all streams (see request.py).
"""

from __future__ import annotations

from contextlib import asynccontextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

from virtmesh.blk.block_device import BlockDevice
from virtmesh.blk.data_room import DataRoom, Share
from virtmesh.blk.files.copies import FileExport, FileImport, open_window
from virtmesh.blk.files.door import FileDoors
from virtmesh.blk.files.thread import FileThread
from virtmesh.blk.lasting import LastingDisk, Patience, PatientDisk
from virtmesh.blk.read_stream import FLOOR, ReadStream
from virtmesh.blk.write_stream import WriteStream
from virtmesh.kinds.service import wrong_kind
from virtmesh.rpc.budgets import account
from virtmesh.rpc.strangers import close_all
from virtmesh_common.api.kernel.v1 import block_device_pb2 as pb
from virtmesh_common.api.kernel.v1 import block_device_pb2_grpc
from virtmesh_common.blk.errors import FileNotTaken
from virtmesh_common.errors import BadStream, LimitReached
from virtmesh_common.retry import of_milliseconds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    import grpc.aio

    from virtmesh.blk.files.window import Window
    from virtmesh.kinds.service import FindDriver


SERVICE = "virtmesh.kernel.v1.BlockDeviceService"


class BlockDeviceService(block_device_pb2_grpc.BlockDeviceServiceServicer):
    """Serves virtmesh.kernel.v1.BlockDeviceService; `find` finds the drivers of devices."""

    name = SERVICE

    def __init__(self, find: FindDriver) -> None:
        self._drivers = find
        self._disks: dict[str, LastingDisk] = {}
        self._room: DataRoom | None = None
        self._doors = FileDoors()

    @asynccontextmanager
    async def _transfer(
        self, disk: str, length: int = FLOOR + 1
    ) -> AsyncIterator[tuple[DataRoom, Share]]:
        """Count a transfer; it has a share of the room. Errors: LimitReached.

        A short one is a call like others: its data fits what gRPC takes of any stream.
        """
        mine = account()
        with await mine.hold_call("transfers") if length > FLOOR else nullcontext():
            if self._room is None:
                self._room = DataRoom(mine.budgets)
            share = self._room.open(disk, mine.client)
            try:
                yield self._room, share
            finally:
                self._room.close(share)

    def add_to(self, server: grpc.aio.Server) -> None:
        """Add the service to a server."""
        block_device_pb2_grpc.add_BlockDeviceServiceServicer_to_server(self, server)

    def listen(self, addresses: Iterable[str]) -> None:
        """Take files at sockets beside those of the service."""
        self._doors.listen(addresses)

    def end_streams(self) -> None:
        """Let no call wait for a disk any more. Every call ends by itself."""
        self._doors.close()
        for disk in self._disks.values():
            disk.stop()

    async def _find(self, name: str, retry_for_ms: int) -> BlockDevice:
        """Return a disk that is in use, or wait so long for it, which is also its patience later.

        Errors: DeviceNotFound; DeviceNotReady; WrongKind.
        """
        disk = self._disks.get(name) or LastingDisk(name, self._drivers.device(name))
        self._disks[name] = disk
        retry_for = of_milliseconds(retry_for_ms)
        driver = await disk.driver(Patience(retry_for))
        return PatientDisk(disk, driver, retry_for)

    async def Identify(self, request: pb.IdentifyRequest, context: Any) -> pb.IdentifyResponse:
        """Describe a disk."""
        disk = await self._find(request.device, request.retry_for_ms)
        return pb.IdentifyResponse(
            capacity_bytes=disk.capacity,
            block_size_bytes=disk.block_size,
            read_only=disk.read_only,
            serial=disk.serial,
            write_back=disk.write_back,
            queues=disk.shape.queue_count,
            request_size_max_bytes=disk.request_size_max,
            features=disk.shape.features,
        )

    async def Read(  # type: ignore[override]  # the stubs know generators only
        self, request: pb.ReadRequest, context: Any
    ) -> None:
        """Stream a range, reading ahead as far as the client keeps up."""
        disk = await self._find(request.device, request.retry_for_ms)
        start = request.offset_bytes
        length = request.length_bytes or max(disk.capacity - start, 0)
        async with self._transfer(request.device, length) as (room, share):
            await ReadStream(disk, room, share, context).run(start, length)

    async def Write(  # type: ignore[override]  # as for Read
        self, request_iterator: AsyncIterator[pb.WriteRequest], context: Any
    ) -> None:
        """Take a range, and report what is written without gaps."""
        header = await account().receive(partial(_take_header, request_iterator))
        disk = await self._find(header.device, header.retry_for_ms)
        async with self._transfer(header.device) as (room, share):
            offset = header.offset_bytes
            await WriteStream(disk, room, share, offset, request_iterator, context).run()

    async def Import(  # type: ignore[override]  # as for Read
        self, request: pb.ImportRequest, context: Any
    ) -> None:
        """Write a range from a file that was handed over, and report what is written."""
        async with self._copy(request, writes=True) as (disk, room, share, file, window):
            await FileImport(disk, room, share, request, file, window, context).run()

    async def Export(  # type: ignore[override]  # as for Read
        self, request: pb.ExportRequest, context: Any
    ) -> None:
        """Read a range into a file that was handed over, and report what is in it."""
        async with self._copy(request, writes=False) as (disk, _, share, file, window):
            await FileExport(disk, share, request, file, window, context).run()

    @asynccontextmanager
    async def _copy(
        self, request: pb.ImportRequest | pb.ExportRequest, *, writes: bool
    ) -> AsyncIterator[tuple[BlockDevice, DataRoom, Share, FileThread, Window]]:
        """Take the file of a copy, and the disk and the memory that it needs.

        `writes` says that the disk is written. Errors: FileNotTaken; FileFailed; LimitReached;
        PastEnd; BlockReadOnly; those of `_find`.
        """
        file = take_file(self._doors, request.ticket)
        try:
            disk = await self._find(request.device, request.retry_for_ms)
            disk.check_range(request.offset_bytes, request.length_bytes)
            if writes:
                disk.check_writable()
            async with self._transfer(request.device) as (room, share):
                end = request.file_offset_bytes + request.length_bytes
                await file.check(writable=not writes, end=end)
                window = await open_window(disk, room, share)
                try:
                    yield disk, room, share, file, window
                finally:
                    file.end()  # First: then it touches the window no more.
                    window.close()
        finally:
            file.end()

    async def Flush(self, request: pb.FlushRequest, context: Any) -> pb.FlushResponse:
        """Make every completed write durable."""
        disk = await self._find(request.device, request.retry_for_ms)
        await disk.flush()
        return pb.FlushResponse()

    async def Discard(self, request: pb.DiscardRequest, context: Any) -> pb.DiscardResponse:
        """Discard a range."""
        disk = await self._find(request.device, request.retry_for_ms)
        await disk.discard(request.offset_bytes, request.length_bytes)
        return pb.DiscardResponse()

    async def WriteZeroes(
        self, request: pb.WriteZeroesRequest, context: Any
    ) -> pb.WriteZeroesResponse:
        """Fill a range with zeroes."""
        disk = await self._find(request.device, request.retry_for_ms)
        await disk.write_zeroes(request.offset_bytes, request.length_bytes, unmap=request.unmap)
        return pb.WriteZeroesResponse()


def take_file(doors: FileDoors, ticket: str) -> FileThread:
    """Take the file of a ticket, for the client of this call. Errors: FileNotTaken."""
    descriptor = doors.claim(ticket)
    try:
        hold = account().hold("files")
    except LimitReached as error:
        close_all((descriptor,))
        raise FileNotTaken(error.message) from error
    return FileThread(descriptor, hold.give)


def as_disk(name: str, driver: object) -> BlockDevice:
    """Return a driver that is one of a disk. Errors: WrongKind."""
    if not isinstance(driver, BlockDevice):
        raise wrong_kind(name, driver, "disk")
    return driver


async def _take_header(messages: AsyncIterator[pb.WriteRequest]) -> pb.WriteHeader:
    """Take the first message of a write. Errors: BadStream."""
    async for message in messages:
        if message.WhichOneof("content") != "header":
            break
        return message.header
    raise BadStream("the first message of a write must be a header: which device, and where")
