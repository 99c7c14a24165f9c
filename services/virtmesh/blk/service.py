"""BlockAdminService: what the owner of a disk does to it from outside (virtmesh.block.v1)."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from virtmesh.blk.write_log import put_mark
from virtmesh_common.api.block.v1 import block_pb2 as pb
from virtmesh_common.api.block.v1 import block_pb2_grpc
from virtmesh_common.blk.errors import BlockReadOnly, StorageStuck
from virtmesh_common.blk.failure import RequestFailure
from virtmesh_common.blk.marks import check_mark

if TYPE_CHECKING:
    from collections.abc import Callable

    import grpc.aio

    from virtmesh.blk.model import BlkModel

Done = TypeVar("Done")
SERVICE = "virtmesh.block.v1.BlockAdminService"
STUCK_SECONDS = 5.0
"""How long a resize is waited for while the storage does not answer a request either."""


class BlockAdmin(block_pb2_grpc.BlockAdminServiceServicer):
    """The service of one disk. What may wait runs on a thread of its own."""

    name = SERVICE

    def __init__(self, model: BlkModel) -> None:
        self._model = model
        self._resizing = asyncio.Lock()
        self._tasks: set[asyncio.Task[int]] = set()
        # Not the threads of the event loop: storage that does not answer would keep them all, and a
        # reset needs one.
        self._thread = ThreadPoolExecutor(1, "owner")

    async def _wait_for(self, work: Callable[[], Done]) -> Done:
        """Do what waits for the storage, one after the other."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def add_to(self, server: grpc.aio.Server) -> None:
        """Add the service to a server."""
        block_pb2_grpc.add_BlockAdminServiceServicer_to_server(self, server)

    def end_streams(self) -> None:
        """Do nothing: every call ends by itself."""

    async def GetInfo(
        self, request: pb.GetInfoRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.GetInfoResponse:
        """Describe the disk and its image."""
        del request, context
        model = self._model
        return pb.GetInfoResponse(
            capacity_bytes=model.disk.capacity,
            block_size_bytes=model.options.block_size,
            read_only=model.disk.read_only,
            serial=model.options.serial,
            image_path=str(model.options.image),
            allocated_bytes=model.disk.allocated,
            config_generation=model.config_generation,
            image_trouble=model.watch.trouble,
            on_error=model.options.on_error,
            held_requests=model.disk.held,
            write_log=str(model.options.write_log or ""),
            poll_us=model.options.poll_limit_us,
            cache=model.options.cache,
            engine=model.disk.engine,
            engine_reason=model.disk.engine_reason,
        )

    async def Resize(
        self, request: pb.ResizeRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.ResizeResponse:
        """Change the capacity, and tell the driver."""
        del context
        # A resize that has begun can't be taken back: the driver has to learn of it, even if the
        # caller gives up.
        task = asyncio.create_task(self._resize(request))
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        while not (await asyncio.wait([task], timeout=STUCK_SECONDS))[0]:
            self._refuse_while_stuck()
        before = task.result()
        return pb.ResizeResponse(
            previous_capacity_bytes=before, capacity_bytes=self._model.disk.capacity
        )

    def _ended(self, task: asyncio.Task[int]) -> None:
        """Forget a resize. Its caller may have given it up by the time it fails."""
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()

    def _refuse_while_stuck(self) -> None:
        """Say which request the storage has had as long as a resize. Errors: StorageStuck."""
        if (stuck := self._model.longest()) and stuck.seconds >= STUCK_SECONDS:
            raise StorageStuck(
                f"the storage of {self._model.name} does not answer ({stuck}): the resize is begun,"
                " and goes on when it does"
            )

    async def _resize(self, request: pb.ResizeRequest) -> int:
        """Resize, and tell the driver; returns the capacity before."""
        async with self._resizing:  # "Would it shrink" and the resize are one step.
            before = self._model.disk.capacity
            try:
                return await self._wait_for(
                    partial(
                        self._model.resize,
                        request.capacity_bytes,
                        allow_shrink=request.allow_shrink,
                    )
                )
            finally:
                # After an error too: the new size may be in force, and only not durable.
                if self._model.disk.capacity != before:
                    self._model.announce_change()

    async def Flush(
        self, request: pb.FlushRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.FlushResponse:
        """Make completed writes durable."""
        del request, context
        await self._wait_for(self._model.disk.flush)
        return pb.FlushResponse()

    async def SetReadOnly(
        self, request: pb.SetReadOnlyRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.SetReadOnlyResponse:
        """Refuse or take writes from the next request on."""
        del context
        if self._model.disk.image_read_only and not request.read_only:
            raise BlockReadOnly(
                f"{self._model.name} was started read-only: to allow writes, start it without `ro`"
                " (--read-only, in a machine file read-only)",
                image="read-only",
            )
        self._model.disk.read_only = request.read_only
        return pb.SetReadOnlyResponse()

    async def Resume(
        self, request: pb.ResumeRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.ResumeResponse:
        """Try held requests again now."""
        del context
        return pb.ResumeResponse(requests=self._model.disk.resume(request.give_up))

    async def Mark(
        self, request: pb.MarkRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.MarkResponse:
        """Put a mark into the write log."""
        del context
        model = self._model
        mark = partial(put_mark, model.disk, model.name, check_mark(request.text))
        return pb.MarkResponse(entries=await self._wait_for(mark))

    async def ListFailures(
        self, request: pb.ListFailuresRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.ListFailuresResponse:
        """Return the last failed requests, oldest first."""
        del context
        failures = (RequestFailure(*values) for values in self._model.disk.failures(0))
        only = request.status_address if request.HasField("status_address") else None
        return pb.ListFailuresResponse(
            failures=[
                pb.RequestFailure(**vars(one))
                for one in failures
                if only is None or one.status_address == only
            ]
        )

    async def GetStats(
        self, request: pb.GetStatsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.GetStatsResponse:
        """Return the counters of the disk."""
        del request, context
        disk = self._model.disk
        return pb.GetStatsResponse(
            requests=[
                pb.RequestStats(
                    type=kind,
                    ok=ok,
                    io_errors=io_errors,
                    unsupported=unsupported,
                    bytes=transferred,
                    busy_us=busy_us,
                )
                for kind, (ok, io_errors, unsupported, transferred, busy_us) in sorted(
                    disk.stats().items()
                )
            ],
            in_flight=disk.in_flight,
            malformed=disk.malformed,
        )
