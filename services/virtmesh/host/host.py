"""The host of one device: its planes, its server, and the order in which they start and stop."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from virtmesh_native import Recorder

from virtmesh.attach.memory_limit import GUEST_MEMORY_MAX
from virtmesh.attach.server import REGISTER_CHANNEL, HandoverServer
from virtmesh.attach.sessions import Sessions
from virtmesh.host.control import ControlPlane
from virtmesh.host.counters import HostCounters
from virtmesh.host.dispatcher import RegisterDispatcher
from virtmesh.host.faults import SERVICE as FAULT_SERVICE
from virtmesh.host.faults import FaultPlane
from virtmesh.host.interrupts import InterruptPlane
from virtmesh.host.metrics import device_metrics, host_metrics
from virtmesh.host.register_channel import ChannelServer
from virtmesh.host.registers import DoorbellPlane, RegisterPlane
from virtmesh.kinds.fault_option import faults_of
from virtmesh.rpc.budgets import account
from virtmesh.rpc.locks import NO_LOCKS, Locks
from virtmesh.rpc.peers import OWN_USER
from virtmesh.rpc.server import GRACE_SECONDS, Scope, Server
from virtmesh.sandbox import sandbox_metrics
from virtmesh.scraping import service as metrics_service
from virtmesh.scraping.page import Measured
from virtmesh.scraping.server import MetricsServer
from virtmesh.telemetry import logging as logs
from virtmesh.telemetry.recorder import EVENTS_DEFAULT, Traced, TracePlane
from virtmesh.vhost_user.offer import Offer
from virtmesh.vhost_user.server import ReportsState, VhostUserServer
from virtmesh_common.api.device.v1 import device_pb2, device_pb2_grpc
from virtmesh_common.api.doorbell.v1 import doorbell_pb2, doorbell_pb2_grpc
from virtmesh_common.api.fault.v1 import fault_pb2_grpc
from virtmesh_common.api.interrupt.v1 import interrupt_pb2, interrupt_pb2_grpc
from virtmesh_common.api.metrics.v1 import metrics_pb2_grpc
from virtmesh_common.api.register.v1 import register_pb2, register_pb2_grpc
from virtmesh_common.api.trace.v1 import trace_pb2, trace_pb2_grpc
from virtmesh_common.channel import KEEPALIVE_SECONDS
from virtmesh_common.errors import DeviceNotFound, NotVirtio
from virtmesh_common.limits import DEFAULTS, Limits
from virtmesh_common.time_limit import time_limit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from prometheus_client import Metric

    from virtmesh.attach.sessions import Session
    from virtmesh.kinds.record import DeviceKind
    from virtmesh.kinds.service import KindService
    from virtmesh.mmio.device import Device
    from virtmesh.rpc.peers import Peers
    from virtmesh_common.fault.spec import FaultSpec

log = structlog.get_logger(__name__)

DRAIN_SECONDS = 1.5
"""How long a read or write that is stuck in the storage is waited for once the service stops.

Longer than an Attach under way takes (RESET_SECONDS).
"""
SERVICES = (
    *(
        module.DESCRIPTOR.services_by_name[name].full_name
        for module, name in (
            (device_pb2, "DeviceService"),
            (register_pb2, "RegisterService"),
            (doorbell_pb2, "DoorbellService"),
            (interrupt_pb2, "InterruptService"),
            (trace_pb2, "TraceService"),
        )
    ),
    metrics_service.SERVICE,
    FAULT_SERVICE,
)
"""Services that every device has."""


@dataclass(frozen=True)
class Addresses:
    """Where a device is served. Without `handover` drivers can't attach."""

    listen: Sequence[str]
    handover: Path | None = None
    metrics: str | None = None
    vhost_user: Path | None = None
    in_band: bool = False
    """Offer in-band notifications to vhost-user front ends."""
    keepalive: float = KEEPALIVE_SECONDS
    """Seconds of silence after which a TCP client is pinged; 0: never."""
    limits: Limits = DEFAULTS
    """What clients may have of it."""
    guest_memory_max: int = GUEST_MEMORY_MAX
    """Most bytes of memory that a driver may hand over."""
    locks: Locks = NO_LOCKS
    """Who may call, and at which other places."""
    peers: Peers = OWN_USER
    """Whose processes may attach, or be front ends."""


class Host:
    """Serves one device, from `start` to `stop`; the device is closed then.

    Its last `recorder` events are kept (virtmesh.trace.v1); 0: none. A recorder that the device has
    already stays.
    It has `faults` from its start on.
    `kind` says what the device offers beside what every device does; None: nothing.
    Errors: NotVirtio for a device that no vhost-user front end can drive; of `start`, AddressTaken,
    BadValue for a fault that it can't have, and ValueError for an address that is none.
    """

    def __init__(
        self,
        device: Device,
        addresses: Addresses,
        kind: DeviceKind | None = None,
        *,
        recorder: int = EVENTS_DEFAULT,
        faults: Sequence[FaultSpec] = (),
    ) -> None:
        self.device = device
        self._kind = kind
        self._services: Sequence[KindService] = ()
        if recorder and not device.interrupt.recorder.capacity:
            device.interrupt.recorder = Recorder(recorder)
        self._wanted = addresses
        self._server = Server(
            addresses.listen,
            keepalive=addresses.keepalive,
            locks=addresses.locks,
            scope=Scope(
                lambda: (device.description.name,),
                kind.access if kind else (),
                addresses.limits,
            ),
        )
        self._counters = HostCounters()
        self._handovers = (
            HandoverServer(
                addresses.handover,
                device.description.queue_size_max,
                kept_state_bytes=device.description.kept_state_bytes,
                memory_max_bytes=addresses.guest_memory_max,
                register_channel=REGISTER_CHANNEL,
            )
            if addresses.handover
            else None
        )
        self._dispatcher = RegisterDispatcher(
            device,
            self._counters,
            self._server.budgets.pieces,
            self._server.budgets.limits.turn_us,
        )
        self._sessions = Sessions(device, self._handovers, self._serve_channel)
        self._front_ends = self._front_end_server()
        self._interrupts = InterruptPlane(device)
        self._control = ControlPlane(device, self._sessions, self._counters, kind)
        self._control.collect = self._collect
        self._faults = FaultPlane(device, faults_of(kind) if kind else frozenset())
        self._faults_wanted = faults
        self._trace = TracePlane(self._traced, account)
        self._measured = Measured(self._collect, {"device": device.description.name})
        self._metrics: MetricsServer | None = None

    @property
    def addresses(self) -> Addresses:
        """Where the device is served, with the actual ports."""
        return Addresses(
            listen=tuple(self._server.addresses),
            handover=self._wanted.handover,
            metrics=self._metrics.address if self._metrics else None,
            vhost_user=self._wanted.vhost_user,
            in_band=self._wanted.in_band,
            keepalive=self._wanted.keepalive,
            limits=self._wanted.limits,
            guest_memory_max=self._wanted.guest_memory_max,
            locks=self._wanted.locks,
            peers=self._wanted.peers,
        )

    async def start(self, seal: Callable[[], None] | None = None) -> None:
        """Serve. After an error, call `stop`.

        `seal` is called when it listens everywhere, before anything is served.
        """
        server = self._server.grpc
        device_pb2_grpc.add_DeviceServiceServicer_to_server(self._control, server)
        register_pb2_grpc.add_RegisterServiceServicer_to_server(
            RegisterPlane(self.device, self._sessions, self._dispatcher), server
        )
        doorbell_pb2_grpc.add_DoorbellServiceServicer_to_server(
            DoorbellPlane(self.device, self._sessions, self._counters), server
        )
        interrupt_pb2_grpc.add_InterruptServiceServicer_to_server(self._interrupts, server)
        trace_pb2_grpc.add_TraceServiceServicer_to_server(self._trace, server)
        metrics_pb2_grpc.add_MetricsServiceServicer_to_server(
            metrics_service.MetricsPlane(self._measured), server
        )
        fault_pb2_grpc.add_FaultServiceServicer_to_server(self._faults, server)
        for service in self._make_services():
            service.add_to(server)
        if self._handovers:
            self._handovers.peers = self._wanted.peers
            self._handovers.listen()
            self._control.handover_socket = self._handovers.path.absolute()
        if self._wanted.metrics:
            self._metrics = MetricsServer(
                self._wanted.metrics, self._measured.page.get, self._wanted.locks
            )
            self._control.metrics_address = self._metrics.address
        if self._front_ends:
            self._front_ends.listen()
            self._control.vhost_user_socket = self._front_ends.path.absolute()
        for spec in self._faults_wanted:
            self._faults.add(spec)
        self._server.before_serving = seal
        await self._server.start((*SERVICES, *(one.name for one in self._services)))

    async def stop(self) -> bool:
        """Finish what is being executed, then go: nothing of the service is left behind.

        False when requests did not finish in time. The device is not closed then, since that would
        wait for them: only the end of the process ends them.
        """
        await self._server.leave()
        drained = True
        try:
            async with time_limit(DRAIN_SECONDS):
                await self._sessions.close()
                if self._front_ends:
                    await self._front_ends.close()
        except TimeoutError:
            log.warning("requests did not finish; going without them", seconds=DRAIN_SECONDS)
            drained = False
        self._interrupts.close()
        self._trace.close()
        self._faults.close()
        for service in self._services:
            service.end_streams()
        await self._server.stop(GRACE_SECONDS)
        if self._handovers:
            self._handovers.close()
        if self._metrics:
            await asyncio.to_thread(self._metrics.close)
        self._measured.close()
        if drained:
            await asyncio.to_thread(self.device.close)
        return drained

    def _serve_channel(
        self, descriptor: int, session: Session, hang_up: Callable[[], None]
    ) -> ChannelServer:
        """Serve the register channel of a session."""
        return ChannelServer(descriptor, session, self.device.interrupt, self._dispatcher, hang_up)

    def _make_services(self) -> Sequence[KindService]:
        """Make the services of the kind."""
        kind, model = self._kind, self.device.model
        self._services = tuple(make(model) for make in kind.services) if kind else ()
        # Faults are of every device, and for people.
        self._control.services = (*(one.name for one in self._services), FAULT_SERVICE)
        return self._services

    def _traced(self, name: str) -> Traced:
        """Return the device's side. Errors: DeviceNotFound."""
        about = self.device.description
        if name not in {"", about.name}:
            raise DeviceNotFound(f"this service is that of {about.name}, not of {name!r}")
        return Traced(
            recorder=self.device.interrupt.recorder,
            side=trace_pb2.SIDE_DEVICE,
            device=about.name,
            kind=about.kind,
            compatible=about.compatible,
            virtio_device_id=about.virtio_device_id,
            reg_shift=about.reg_shift,
        )

    def _front_end_server(self) -> VhostUserServer | None:
        """Make the server of vhost-user front ends, if there is to be one."""
        path = self._wanted.vhost_user
        if path is None:
            return None
        if not isinstance(self.device, ReportsState):
            kind = self.device.description.kind
            raise NotVirtio(f"--vhost-user: {kind} is no virtio device: leave the option out")
        offer = Offer(self._wanted.in_band, self._wanted.guest_memory_max)
        server = VhostUserServer(path, self.device, self._sessions, offer)
        server.peers = self._wanted.peers
        return server

    def _collect(self) -> Iterable[Metric]:
        """Return every metric of the device, read now."""
        yield from host_metrics(self.device, self._sessions, self._counters)
        yield from self._server.metrics()
        yield from logs.LIMIT.metrics()
        yield from sandbox_metrics()
        if self._metrics:
            yield from self._metrics.metrics()
        yield from device_metrics(self.device)
        yield from self._faults.metrics()
        if self._kind:
            yield from self._kind.collect(self.device.model)
