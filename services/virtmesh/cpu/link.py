"""One attachment of the CPU to a device service.

Guest RAM and doorbells are handed over; registers are accessed by the register channel. The
connection is the attachment. Until the board has it, the CPU service itself may access registers
over it, to read what the device is and to set it up as it was (virtmesh.attach.restore).
"""

from __future__ import annotations

import asyncio
import select
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

import grpc.aio

from virtmesh.attach.client import AttachConnection, AttachmentEventfds
from virtmesh.attach.eventfd import drain
from virtmesh.attach.restore import run
from virtmesh.cpu.register_client import RegisterClient
from virtmesh_common.api.device.v1 import device_pb2
from virtmesh_common.api.device.v1.device_pb2_grpc import DeviceServiceStub
from virtmesh_common.api.register.v1 import register_pb2
from virtmesh_common.api.register.v1.register_pb2_grpc import RegisterServiceStub
from virtmesh_common.channel import SESSION_KEY, open_channel
from virtmesh_common.errors import DriverError, NotOffered, from_rpc_error

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from virtmesh.attach.bus import Access
    from virtmesh.attach.guest_ram import Ram
    from virtmesh.attach.restore import Steps
    from virtmesh.kernel.tree import DeviceNode

Result = TypeVar("Result")

CONTROL_TIMEOUT_S = 10.0
"""Longest wait for an answer of the control plane."""
QUEUES_MAX = 32
"""Most queues that get doorbells: a handover packet carries at most 128 descriptors."""


class DeviceLink:
    """An attachment. `open` makes one; `close` gives the device back."""

    def __init__(
        self,
        about: device_pb2.DescribeResponse,
        connection: AttachConnection,
        eventfds: AttachmentEventfds,
        resources: AsyncExitStack,
    ) -> None:
        self.about = about
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the device has closed its end, or `fail` was called."""
        self._connection = connection
        self._eventfds = eventfds
        self._resources = resources
        self._watch_end()

    @classmethod
    async def open(
        cls,
        node: DeviceNode,
        ram: Ram,
        driver_name: str,
        make_logs: Callable[[Sequence[int], int], int | None],
        *,
        config_changed: bool = False,
    ) -> Self:
        """Attach to the device of a node.

        `make_logs` returns the in-flight log for queues of these sizes, with so much behind it for
        what the device keeps; the caller keeps it.
        With `config_changed` the device tells the guest of a change when it is live.
        Errors: ServiceUnavailable, DeviceAttached, ShuttingDown, MemoryRefused classes, DeviceLost;
        DriverError for a service that is another device, or has no register channel.
        """
        async with AsyncExitStack() as undo:
            channel = open_channel(node.endpoint)
            undo.push_async_callback(channel.close)
            control = DeviceServiceStub(channel)
            about = await ask(control.Describe, device_pb2.DescribeRequest(), node.endpoint)
            check(about, node)
            eventfds = AttachmentEventfds.make(
                min(len(about.queue_size_max), QUEUES_MAX), line=True
            )
            undo.callback(eventfds.close)
            connection = await AttachConnection.open(
                node.handover or about.handover_socket,
                ram,
                eventfds,
                timeout_s=CONTROL_TIMEOUT_S,
                inflight_logs=make_logs(about.queue_size_max, about.kept_state_bytes),
            )
            undo.callback(connection.close)
            if not connection.register_channel:
                raise DriverError(
                    f"{about.name} offers no register channel: its service is older than this CPU"
                )
            attach = device_pb2.AttachRequest(
                driver_name=driver_name, ticket=connection.ticket, config_changed=config_changed
            )
            attached = await ask(control.Attach, attach, node.endpoint)
            link = cls(about, connection, eventfds, undo.pop_all())
        link._channel, link._endpoint = channel, node.endpoint
        link._metadata = ((SESSION_KEY, attached.session_id),)
        return link

    @property
    def channel(self) -> int:
        """The descriptor of the connection."""
        return self._connection.socket.fileno()

    @property
    def line(self) -> int:
        """The eventfd that the device signals when its interrupt line changes."""
        line = self._eventfds.line
        if line is None:
            raise RuntimeError("an attachment of the CPU always has a line")
        return line

    @property
    def kicks(self) -> list[int]:
        """The eventfds that notify the queues, in their order."""
        return [self._eventfds.queues[queue].kick for queue in sorted(self._eventfds.queues)]

    async def run(self, steps: Steps[Result]) -> Result:
        """Execute register accesses. Only before the board has the connection.

        Errors: those of the steps; DeviceLost.
        """
        client = RegisterClient(self.channel, self.about.name)

        async def access(batch: Sequence[Access]) -> Sequence[int]:
            return await asyncio.to_thread(client.access, batch)

        return await run(access, steps)

    def on_config_change(self, changed: Callable[[], object]) -> None:
        """Call `changed` whenever the device says that its configuration has changed."""
        descriptor = self._config_call
        loop = asyncio.get_running_loop()

        def signalled() -> None:
            if drain(descriptor):
                changed()

        loop.add_reader(descriptor, signalled)
        self._resources.callback(loop.remove_reader, descriptor)

    def config_changed(self) -> bool:
        """Return True if the device has said so and nobody was called yet; it may be gone."""
        return bool(drain(self._config_call))

    @property
    def _config_call(self) -> int:
        """The eventfd that tells of changes of the configuration."""
        if self._eventfds.config_call is None:
            raise RuntimeError("an attachment of the CPU always hears of changes")
        return self._eventfds.config_call

    async def read(self, steps: Steps[Result]) -> Result:
        """Execute steps that only read, by gRPC: beside the board, which has the connection.

        Errors: those of the steps; ServiceUnavailable; NotAttached; RegisterError classes.
        """
        return await run(self._read_batch, steps)

    async def _read_batch(self, batch: Sequence[Access]) -> list[int]:
        """Read registers by gRPC. Errors: ServiceUnavailable; NotAttached; RegisterError."""
        read = RegisterServiceStub(self._channel).Read
        values = []
        for one in batch:
            request = register_pb2.ReadRequest(offset=one.offset, width_bytes=one.width)
            values.append((await ask(read, request, self._endpoint, self._metadata)).value)
        return values

    async def report(self) -> device_pb2.GetReportResponse:
        """Ask for what the driver broke. Errors: ServiceUnavailable; NotOffered."""
        answer = await self._control("GetReport", device_pb2.GetReportRequest())
        return cast("device_pb2.GetReportResponse", answer)

    async def clear_report(self, *, begin_anew: bool = False) -> None:
        """Have the device forget what the accesses of this service broke.

        `begin_anew`: nothing was done yet; else what a driver does first is taken for granted.
        Errors: ServiceUnavailable; NotAttached. An older device judges nothing.
        """
        with suppress(NotOffered):
            request = device_pb2.ClearReportRequest(begin_anew=begin_anew)
            await self._control("ClearReport", request)

    async def _control(self, method: str, request: object) -> Any:
        """Call the control plane for this session. Errors: those of the service."""
        stub = getattr(DeviceServiceStub(self._channel), method)
        return await ask(stub, request, self._endpoint, self._metadata)

    def fail(self) -> None:
        """Give the attachment up: the device did what it must not do."""
        if not self.lost.done():
            self.lost.set_result(None)

    async def close(self) -> None:
        """Give the device back."""
        self.fail()
        await self._resources.aclose()

    def _watch_end(self) -> None:
        """Set `lost` when the device closes the connection; what comes over it is the board's."""
        poller = select.epoll()
        self._resources.callback(poller.close)
        # EPOLLIN is left out: answers are for another reader. EPOLLHUP comes unasked.
        poller.register(self.channel, select.EPOLLRDHUP)
        loop = asyncio.get_running_loop()

        def ended() -> None:
            loop.remove_reader(poller.fileno())
            self.fail()

        loop.add_reader(poller.fileno(), ended)
        self._resources.callback(loop.remove_reader, poller.fileno())

    _channel: grpc.aio.Channel
    _endpoint: str
    _metadata: tuple[tuple[str, str], ...]


def check(about: device_pb2.DescribeResponse, node: DeviceNode) -> None:
    """Check that a service is the device of a node. Errors: DriverError."""
    if about.name != node.name:
        raise DriverError(
            f"the device at {node.endpoint} is {about.name}, not {node.name}: mend its --name or"
            " the machine file"
        )
    if not (node.handover or about.handover_socket):
        raise DriverError(
            f"{about.name} has no handover socket: start its service with --handover PATH"
        )


async def ask(
    method: Any, request: object, endpoint: str, metadata: tuple[tuple[str, str], ...] = ()
) -> Any:
    """Call a device service. Errors: the class that the service raised."""
    try:
        return await method(request, timeout=CONTROL_TIMEOUT_S, metadata=metadata)
    except grpc.aio.AioRpcError as failure:
        raise from_rpc_error(failure, endpoint) from failure
