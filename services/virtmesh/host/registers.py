"""RegisterService and DoorbellService: register accesses and notifications of the driver."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from virtmesh.attach.sessions import SESSION_ENDED
from virtmesh.host.counters import HostCounters, session_of
from virtmesh.rpc.budgets import account
from virtmesh_common.api.doorbell.v1 import doorbell_pb2, doorbell_pb2_grpc
from virtmesh_common.api.register.v1 import register_pb2 as pb
from virtmesh_common.api.register.v1 import register_pb2_grpc
from virtmesh_common.errors import BadStream, NotAttached

if TYPE_CHECKING:
    import grpc.aio

    from virtmesh.attach.sessions import Sessions
    from virtmesh.host.dispatcher import RegisterDispatcher
    from virtmesh.mmio.device import Device

BATCH_LIMIT = 4096
"""Most accesses in one message (register.proto)."""
RING_LIMIT = 64
"""Most queues in one NotifyRequest (doorbell.proto)."""


class RegisterPlane(register_pb2_grpc.RegisterServiceServicer):
    """RegisterService of one device."""

    def __init__(self, device: Device, sessions: Sessions, dispatcher: RegisterDispatcher) -> None:
        self._interrupt = device.interrupt
        self._sessions = sessions
        self._dispatcher = dispatcher

    async def Read(
        self, request: pb.ReadRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.ReadResponse:
        """Read one register."""
        self._sessions.check(session_of(context))
        value = self._dispatcher.read(request.offset, request.width_bytes)
        return pb.ReadResponse(value=value)

    async def Write(
        self, request: pb.WriteRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.WriteResponse:
        """Write one register."""
        self._sessions.check(session_of(context))
        await self._dispatcher.write(request.offset, request.width_bytes, request.value)
        return pb.WriteResponse()

    async def Access(  # type: ignore[override]  # the stubs know generators only
        self,
        request_iterator: object,
        context: grpc.aio.ServicerContext[pb.AccessRequest, pb.AccessResponse],
    ) -> None:
        """Execute batches in order. Others go on while one waits for a reset, or for its turn."""
        session_id = session_of(context)
        session = self._sessions.check(session_id)
        if session is None:
            await self._serve(session_id, context)
            return
        # A session ends a stream by cancelling a task. It must not cancel the task of gRPC.
        task: asyncio.Task[object] = asyncio.ensure_future(self._serve(session_id, context))
        session.streams.add(task)
        try:
            await task
        except asyncio.CancelledError:
            if session.ended:
                raise NotAttached(SESSION_ENDED) from None
            raise
        finally:
            session.streams.discard(task)

    async def _serve(
        self,
        session_id: str | None,
        context: grpc.aio.ServicerContext[pb.AccessRequest, pb.AccessResponse],
    ) -> None:
        """Execute and answer batches until the client half-closes the stream."""
        while isinstance(request := await context.read(), pb.AccessRequest):
            self._sessions.check(session_id)
            await context.write(await self._execute(request, session_id))

    async def _execute(
        self, request: pb.AccessRequest, session_id: str | None
    ) -> pb.AccessResponse:
        """Execute one batch.

        Errors: BadStream for columns of different or too large lengths; LimitReached; NotAttached
        when the session ends while it waits.
        """
        count = len(request.offsets)
        if count > BATCH_LIMIT or count != len(request.ops) or count != len(request.values):
            raise BadStream(
                f"a batch with {count} offsets, {len(request.ops)} ops and {len(request.values)}"
                f" values is not valid: send columns of the same length, at most {BATCH_LIMIT}"
            )
        # Make lists: each column is read twice, and reading one of protobuf costs four times more.
        offsets, ops, values = list(request.offsets), list(request.ops), list(request.values)
        with account().hold("register-batches"):
            return await self._run(offsets, ops, values, session_id)

    async def _run(
        self, offsets: list[int], ops: list[int], values: list[int], session_id: str | None
    ) -> pb.AccessResponse:
        """Execute a batch of columns of the same length. Errors: NotAttached."""
        batch = self._dispatcher.execute(offsets, ops, values)
        done = batch.done
        if done.unfinished:
            await self._dispatcher.complete(batch, lambda: self._sessions.check(session_id))
        interrupt = self._interrupt
        sequence = interrupt.sequence  # First, so that it never hides what is pending.
        response = pb.AccessResponse(
            values=done.values, line_asserted=bool(interrupt.status), line_sequence=sequence
        )
        if done.error is not None:
            response.error.index = len(done.values)
            response.error.reason = done.error.reason
            response.error.message = done.error.message
        return response


class DoorbellPlane(doorbell_pb2_grpc.DoorbellServiceServicer):
    """DoorbellService of one device."""

    def __init__(self, device: Device, sessions: Sessions, counters: HostCounters) -> None:
        self._device = device
        self._sessions = sessions
        self._counters = counters

    async def Notify(
        self,
        request: doorbell_pb2.NotifyRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> doorbell_pb2.NotifyResponse:
        """Notify queues."""
        self._sessions.require(session_of(context))
        if len(request.queues) > RING_LIMIT:
            raise BadStream(
                f"a request notifies {len(request.queues)} queues: send at most {RING_LIMIT} in one"
            )
        for queue in request.queues:
            self._device.notify(queue)
            self._counters.notifications_rpc += 1
        return doorbell_pb2.NotifyResponse()
