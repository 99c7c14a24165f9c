"""A bus that reaches a device service, with shared memory and eventfds for queues.

Registers are accessed over the handover connection (the register channel), or by gRPC where the
device offers no channel.

To attach: Describe, hand memory and eventfds over, Attach with the ticket (virtmesh.device.v1).
When the handover connection or a stream ends, the device is lost, and every waiting call fails at
once.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Self, cast

import grpc
import grpc.aio
import structlog

from virtmesh.attach.bus import BATCH_LIMIT, Access, Bus, writing
from virtmesh.attach.client import AttachConnection, AttachmentEventfds, make_eventfd
from virtmesh.attach.eventfd import drain
from virtmesh.attach.exchange import Exchange, RegisterTransport
from virtmesh.attach.line import LineEventfd, LineObserver
from virtmesh.attach.notifier import CallNotifier, DoorbellKind, EventfdNotifier, Notifier
from virtmesh.attach.register_channel import CHANNEL_VERSION, ENDED, RegisterChannel
from virtmesh.attach.register_stream import RegisterStream
from virtmesh_common.api.device.v1 import device_pb2
from virtmesh_common.api.device.v1.device_pb2_grpc import DeviceServiceStub
from virtmesh_common.api.doorbell.v1 import doorbell_pb2
from virtmesh_common.api.doorbell.v1.doorbell_pb2_grpc import DoorbellServiceStub
from virtmesh_common.api.interrupt.v1 import interrupt_pb2
from virtmesh_common.api.interrupt.v1.interrupt_pb2_grpc import InterruptServiceStub
from virtmesh_common.api.register.v1.register_pb2_grpc import RegisterServiceStub
from virtmesh_common.channel import SESSION_KEY, open_channel
from virtmesh_common.errors import (
    BadStream,
    DeviceLost,
    DriverError,
    MemoryRefused,
    ResetUnderWay,
    ServiceUnavailable,
    VirtmeshError,
    from_rpc_error,
)
from virtmesh_common.sent_status import keep_sent_status
from virtmesh_common.virtio.mmio import (
    INTERRUPT_CONFIG_CHANGE,
    INTERRUPT_USED_BUFFER,
    QUEUE_NOTIFY,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from virtmesh.attach.guest_ram import Ram

log = structlog.get_logger(__name__)

CONTROL_TIMEOUT_S = 10.0
"""Longest wait for an answer of the control plane."""
DETACH_TIMEOUT_S = 3.0
"""Longest wait for Detach; closing the connection detaches as well."""
OUTSTANDING_LIMIT = 64
"""Most batches without an answer; further ones wait for an answer."""
DOORBELL_QUEUES = 32
"""Most queues that get eventfds: a handover packet carries at most 128 descriptors."""


class GrpcBus(Bus):
    """An attachment to a device service. `connect` makes one."""

    uses_channel = True
    """False in a subclass: access registers by gRPC even where the device offers a channel."""

    def __init__(self, name: str, endpoint: str, ram: Ram) -> None:
        self.name = name
        self.ram = ram
        self.vectored = False
        self.lost: asyncio.Future[DeviceLost] = asyncio.get_running_loop().create_future()
        self.stuck: ResetUnderWay | None = None
        """What Detach was told of a request that is stuck in the storage."""
        self._endpoint = endpoint
        self._metadata: tuple[tuple[str, str], ...] = ()
        self._resources = AsyncExitStack()
        self._handler: Callable[[int], object] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._line = LineObserver()
        self._follows_line = False
        self._turns = asyncio.Semaphore(OUTSTANDING_LIMIT)

    @classmethod
    async def connect(  # noqa: PLR0913 - the facts of one attachment
        cls,
        endpoint: str,
        *,
        ram: Ram,
        driver_name: str,
        doorbell: DoorbellKind,
        handover: str | None = None,
        inflight_logs: int | None = None,
    ) -> Self:
        """Attach to the device service at an address. `handover` overrides the path it reports.

        `inflight_logs` is a descriptor (AttachConnection.open), which the caller keeps.

        Errors: ServiceUnavailable, DeviceAttached, ShuttingDown, MemoryRefused classes, DeviceLost,
        DriverError when the service names no handover socket.
        """
        async with AsyncExitStack() as undo:
            channel = open_channel(endpoint)
            undo.push_async_callback(channel.close)
            control = DeviceServiceStub(channel)
            about = await _ask(
                control.Describe(device_pb2.DescribeRequest(), timeout=CONTROL_TIMEOUT_S), endpoint
            )
            bus = cls(about.name, endpoint, ram)
            bus.kind = about.kind
            eventfds = AttachmentEventfds()
            if doorbell is DoorbellKind.EVENTFD and about.queue_size_max:
                eventfds = AttachmentEventfds.make(min(len(about.queue_size_max), DOORBELL_QUEUES))
            elif cls.uses_channel and not about.queue_size_max:
                eventfds.line = make_eventfd()
            undo.callback(eventfds.close)
            path = handover or about.handover_socket
            if not path:
                raise DriverError(
                    f"{about.name} has no handover socket: start its service with --handover PATH"
                )
            connection = await _hand_over(path, ram, eventfds, inflight_logs)
            undo.callback(connection.close)
            attach = device_pb2.AttachRequest(driver_name=driver_name, ticket=connection.ticket)
            attached = await _ask(control.Attach(attach, timeout=CONTROL_TIMEOUT_S), endpoint)
            bus._metadata = ((SESSION_KEY, attached.session_id),)
            bus._resources = undo.pop_all()
        bus._start(channel, connection, eventfds, doorbell)
        return bus

    def _start(
        self,
        channel: grpc.aio.Channel,
        connection: AttachConnection,
        eventfds: AttachmentEventfds,
        doorbell: DoorbellKind,
    ) -> None:
        """Open the streams, and watch the connection and the eventfds."""
        self.channel = channel
        self._control = DeviceServiceStub(channel)
        self._registers: RegisterTransport
        if self.uses_channel and connection.register_channel == CHANNEL_VERSION:
            self._registers = RegisterChannel(connection.socket, self._lose, self._line_told)
        else:
            connection.watch(lambda: self._lose(ENDED))
            batches = RegisterServiceStub(channel).Access(metadata=self._metadata)
            stream = RegisterStream(keep_sent_status(batches))
            self._spawn(stream.send(), "register writer")
            self._spawn(stream.receive(), "register reader")
            self._registers = stream
        self._notifier = self._make_notifier(channel, eventfds, doorbell)
        self._resources.callback(self._notifier.close)
        if eventfds.line is not None and isinstance(self._registers, RegisterChannel):
            self._resources.callback(LineEventfd(eventfds.line, self._registers).close)
            self._follows_line = True
            return
        if eventfds.config_call is None:
            self._spawn(self._watch(InterruptServiceStub(channel)), "interrupt stream")
            return
        self.vectored = True
        for pair in eventfds.queues.values():
            self._listen(pair.call, INTERRUPT_USED_BUFFER)
        self._listen(eventfds.config_call, INTERRUPT_CONFIG_CHANGE)

    async def access(self, batch: Sequence[Access]) -> list[int]:
        """Send a batch and wait for its answer."""
        if len(batch) > BATCH_LIMIT:
            raise ValueError(
                f"{len(batch)} accesses do not fit a batch of {BATCH_LIMIT}: send several batches"
            )
        async with self._turns:
            self.check()
            exchange = Exchange(batch)
            self._registers.submit(exchange)
            return exchange.result(await exchange.answer)

    def notify(self, queue: int) -> None:
        """Notify a queue in the way that was chosen when the bus was connected."""
        self._notifier.ring(queue)

    def on_interrupt(self, handler: Callable[[int], object]) -> None:
        """Set the handler of interrupts."""
        self._handler = handler

    async def status(self, seconds: float) -> device_pb2.GetStatusResponse | None:
        """Return what the device service says of itself; None if it does not answer within a time.

        A stopped process does not. One that refuses, since it has too much to do, does.
        """
        try:
            return await self._control.GetStatus(device_pb2.GetStatusRequest(), timeout=seconds)
        except grpc.aio.AioRpcError as error:
            refused = error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            return device_pb2.GetStatusResponse() if refused else None
        except grpc.aio.UsageError:
            return None
        except asyncio.CancelledError:  # Also when the bus is closed meanwhile.
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return None

    async def close(self) -> None:
        """Detach, and close everything.

        The device is reset when this returns, or keeps its own mapping of the memory until a stuck
        request ends: `stuck` says which one.
        """
        if not self.lost.done():
            try:
                await self._control.Detach(
                    device_pb2.DetachRequest(), metadata=self._metadata, timeout=DETACH_TIMEOUT_S
                )
            except grpc.aio.AioRpcError as error:
                failure = from_rpc_error(error, self._endpoint)
                self.stuck = failure if isinstance(failure, ResetUnderWay) else None
        self._lose("this driver detached")
        self._handler = None  # It is a driver's, which knows this bus.
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._resources.aclose()

    def _make_notifier(
        self, channel: grpc.aio.Channel, eventfds: AttachmentEventfds, kind: DoorbellKind
    ) -> Notifier:
        """Make what notifies queues in the chosen way."""
        if eventfds.queues:
            return EventfdNotifier({queue: pair.kick for queue, pair in eventfds.queues.items()})
        stub = DoorbellServiceStub(channel)

        async def by_rpc(queues: Sequence[int]) -> None:
            await _ask(
                stub.Notify(doorbell_pb2.NotifyRequest(queues=queues), metadata=self._metadata),
                self._endpoint,
            )

        async def by_mmio(queues: Sequence[int]) -> None:
            await self.access([writing(QUEUE_NOTIFY, queue) for queue in queues])

        call = by_rpc if kind is DoorbellKind.RPC else by_mmio
        return CallNotifier(call, lambda error: self._lose(f"a notification failed: {error}"))

    async def _watch(self, stub: Any) -> None:
        """Call the handler for each response of the interrupt stream that shows an interrupt."""
        stream = stub.Watch(interrupt_pb2.WatchRequest())
        while (response := await stream.read()) is not grpc.aio.EOF:
            self._observe(response.sequence, response.interrupt_status)
        raise BadStream("it ended the interrupt stream")

    def _line_told(self, sequence: int, causes: int) -> None:
        """Take the state of the line from an answer, where the answers are what tells it."""
        if self._follows_line:
            self._observe(sequence, causes)

    def _observe(self, sequence: int, causes: int) -> None:
        """Call the handler if a state of the line shows an interrupt."""
        if self._line.shows_interrupt(sequence, causes):
            self._interrupted(causes)

    def _listen(self, descriptor: int, cause: int) -> None:
        """Call the handler when an eventfd is signalled."""

        def signalled() -> None:
            if drain(descriptor):
                self._interrupted(cause)

        loop = asyncio.get_running_loop()
        loop.add_reader(descriptor, signalled)
        self._resources.callback(loop.remove_reader, descriptor)

    def _interrupted(self, cause: int) -> None:
        """Call the handler."""
        if self._handler is not None and not self.lost.done():
            self._handler(cause)

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run a part of the bus in a task. When it fails, the device is lost."""

        async def guarded() -> None:
            try:
                await work
            except grpc.RpcError as failure:
                self._lose(str(from_rpc_error(failure, self._endpoint)))
            except (VirtmeshError, asyncio.InvalidStateError) as error:
                self._lose(str(error))
            except Exception:
                log.exception("a fault of the bus", device=self.name, part=name)
                self._lose("a fault of the driver's bus; the log of the driver says more")

        self._tasks.add(asyncio.create_task(guarded(), name=f"{self.name} {name}"))

    def _lose(self, how: str) -> None:
        """Declare the device lost, once, and fail every request that waits."""
        if self.lost.done():
            return
        error = DeviceLost(f"{self.name} is lost: {how}", device=self.name)
        self.lost.set_result(error)
        self._registers.fail(error)


async def _hand_over(
    path: str, ram: Ram, eventfds: AttachmentEventfds, logs: int | None
) -> AttachConnection:
    """Hand memory and eventfds over; without that of the line to a service that refuses it.

    Services that don't know it do. Errors: as `AttachConnection.open`.
    """
    limit = CONTROL_TIMEOUT_S
    try:
        return await AttachConnection.open(path, ram, eventfds, timeout_s=limit, inflight_logs=logs)
    except MemoryRefused:
        if eventfds.line is None:
            raise
    os.close(eventfds.line)
    eventfds.line = None
    return await AttachConnection.open(path, ram, eventfds, timeout_s=limit, inflight_logs=logs)


async def _ask(call: Any, endpoint: str) -> Any:
    """Await a call of the device service. Errors: the class that the service raised."""
    try:
        return await cast("grpc.aio.UnaryUnaryCall[Any, Any]", call)
    except grpc.aio.AioRpcError as failure:
        if failure.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            raise ServiceUnavailable(
                f"{endpoint}: no answer within {CONTROL_TIMEOUT_S:g} s", address=endpoint
            ) from failure
        raise from_rpc_error(failure, endpoint) from failure
