"""BlockDeviceService: disks for clients, any range at a time (streams: see streams.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from virtmesh.blk.streams import WriteStream, send_range, take_header
from virtmesh_common.api.kernel.v1 import block_device_pb2 as pb
from virtmesh_common.api.kernel.v1 import block_device_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from virtmesh.blk.block_device import BlockDevice

SERVICE = "virtmesh.kernel.v1.BlockDeviceService"


class BlockDeviceService(block_device_pb2_grpc.BlockDeviceServiceServicer):
    """Serves virtmesh.kernel.v1.BlockDeviceService; `find` returns a disk by name."""

    def __init__(self, find: Callable[[str], BlockDevice]) -> None:
        self._find = find

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
        await send_range(disk, start, length, context)

    async def Write(  # type: ignore[override]  # as for Read
        self, request_iterator: AsyncIterator[pb.WriteRequest], context: Any
    ) -> None:
        """Take a range, and report what is written without gaps."""
        header = await take_header(request_iterator)
        disk = self._find(header.device)
        await WriteStream(disk, header.offset_bytes, context).run(request_iterator)

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
