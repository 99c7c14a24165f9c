"""What clients reach a machine by, whoever drives its devices: our kernel or a CPU.

One gRPC server with the gateway to the devices, their list, their traces and what their kinds
offer, and /metrics beside it.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import structlog

from virtmesh.kernel import service
from virtmesh.kernel.device import DevicesOfMachine
from virtmesh.kernel.gateway import NONE, Answer, Gateway
from virtmesh.kernel.gathering import Gathering
from virtmesh.kernel.service import KernelService
from virtmesh.kinds import all_kinds, broken_kinds
from virtmesh.kinds.service import ListeningService
from virtmesh.rpc.budgets import account
from virtmesh.rpc.locks import NO_LOCKS, Locks
from virtmesh.rpc.server import GRACE_SECONDS, Scope, Server, catch_signals
from virtmesh.sandbox import sandbox_metrics
from virtmesh.scraping import service as metrics_service
from virtmesh.scraping.page import Measured
from virtmesh.scraping.server import MetricsServer
from virtmesh.telemetry import logging as logs
from virtmesh.telemetry import recorder as trace
from virtmesh_common.api.kernel.v1 import kernel_pb2_grpc
from virtmesh_common.api.metrics.v1 import metrics_pb2_grpc
from virtmesh_common.api.trace.v1 import trace_pb2_grpc
from virtmesh_common.channel import KEEPALIVE_SECONDS
from virtmesh_common.limits import DEFAULTS, Limits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    import grpc.aio
    from grpc.aio import Channel
    from prometheus_client import Metric

    from virtmesh.drivers.base import Driver
    from virtmesh.kinds.service import DriverOfDevice
    from virtmesh.sandbox import Sandbox
    from virtmesh.telemetry.recorder import Traced

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Serving:
    """Where a machine is served."""

    listen: Sequence[str]
    metrics: str | None = None
    """Where /metrics of the machine is: unix:PATH or HOST:PORT; None: nowhere."""
    keepalive: float = KEEPALIVE_SECONDS
    """Seconds of silence after which a TCP client is pinged; 0: never."""
    locks: Locks = NO_LOCKS
    """Who may call, and at which other places."""
    limits: Limits = DEFAULTS
    """What clients may have of it."""
    seal: Callable[[], None] | None = None
    """Called when it listens everywhere, before anything is served."""
    prepare: Callable[[], Awaitable[None]] | None = None
    """Awaited then."""
    control: Path | None = None
    """The socket of a supervisor, if there is one."""


class ServedMachine(DevicesOfMachine, Protocol):
    """Whoever drives the devices."""

    def driver(self, name: str) -> Driver:
        """Return the driver of a device in use. Errors: DeviceNotFound; DeviceNotReady."""

    def traced(self, name: str) -> Traced:
        """Return the driver's side of a device. Errors: DeviceNotFound."""


class DriversOf:
    """Finds the drivers of a machine, for services of its kinds (virtmesh.kinds.service)."""

    def __init__(self, machine: ServedMachine) -> None:
        self._machine = machine

    def __call__(self, name: str) -> Driver:
        """Return the driver of a device in use. Errors: DeviceNotFound; DeviceNotReady."""
        return self._machine.driver(name)

    def device(self, name: str) -> DriverOfDevice:
        """Return what follows the drivers of a device. Errors: DeviceNotFound."""
        return self._machine.device(name)


class MachineServer(Protocol):
    """A machine with its front door, from start to stop."""

    async def start(self) -> None:
        """Serve. After an error, call `stop`."""

    async def stop(self) -> None:
        """Give the devices back."""


class FrontDoor:
    """The server of a machine. Add services of your own to `grpc`, then call `start`.

    `answers` are the gateway's: methods of devices that are answered here.
    To stop, call `end_calls`, give the devices back, and call `close`. Errors: ValueError.
    """

    def __init__(
        self,
        machine: ServedMachine,
        serving: Serving,
        metrics: Callable[[], Iterable[Metric]],
        *,
        answers: Mapping[str, Answer] = NONE,
    ) -> None:
        self._machine = machine
        self._serving = serving
        self._own_metrics = metrics
        self._relays = [
            make(machine.devices, machine.device, self._upstream)
            for one in all_kinds()
            for make in one.relays
        ]
        by_method = {method: relay for relay in self._relays for method in relay.methods}
        self._gateway = Gateway(machine, answers, serving.limits, by_method)
        self._server = Server(
            serving.listen,
            [self._gateway],
            keepalive=serving.keepalive,
            locks=serving.locks,
            scope=Scope(
                lambda: machine.devices,
                [row for one in all_kinds() for row in one.access],
                serving.limits,
            ),
        )
        self._trace = trace.TracePlane(machine.traced, account)
        self._of_kinds = [
            make(DriversOf(machine)) for one in all_kinds() for make in one.kernel_services
        ]
        self._gathering = Gathering(machine, self._gateway.channel)
        labels = {"machine": machine.machine.name}
        self._measured = Measured(self._collect, labels, self._gathering)
        self._metrics: MetricsServer | None = None

    @property
    def grpc(self) -> grpc.aio.Server:
        """The server, for services to be added."""
        return self._server.grpc

    @property
    def addresses(self) -> Sequence[str]:
        """Where it listens; ports are the actual ones."""
        return self._server.addresses

    @property
    def metrics_address(self) -> str:
        """Where /metrics is, as unix:PATH or HOST:PORT; empty without it."""
        return self._metrics.address if self._metrics else ""

    @property
    def warnings(self) -> list[str]:
        """What should not stay as it is, a line for each."""
        return [*self._server.warnings, *(self._metrics.warnings if self._metrics else ())]

    async def start(self, *names: str) -> None:
        """Serve; `names` are the full names of the services that were added.

        Errors: AddressTaken; SecurityError.
        """
        grpc = self._server.grpc
        kernel_pb2_grpc.add_KernelServiceServicer_to_server(
            KernelService(self._machine, lambda: self.warnings, self._serving.control), grpc
        )
        trace_pb2_grpc.add_TraceServiceServicer_to_server(self._trace, grpc)
        metrics_pb2_grpc.add_MetricsServiceServicer_to_server(
            metrics_service.MetricsPlane(self._measured), grpc
        )
        for of_kind in self._of_kinds:
            of_kind.add_to(grpc)
            if isinstance(of_kind, ListeningService):
                of_kind.listen(self._serving.listen)
        for name, why in broken_kinds().items():
            log.warning("a kind of device can't be used", kind=name, why=why)
        if self._serving.metrics:
            self._metrics = MetricsServer(
                self._serving.metrics, self._measured.page.get, self._serving.locks
            )
            log.info("metrics", address=self._metrics.address)
        self._server.before_serving = self._serving.seal
        self._server.prepare = self._serving.prepare
        kinds = (one.name for one in self._of_kinds)
        await self._server.start(
            (service.SERVICE, *names, trace.SERVICE, metrics_service.SERVICE, *kinds),
            self._gateway.offered,
        )
        for relay in self._relays:
            relay.start()

    async def end_calls(self) -> None:
        """End the streams, and let calls under way finish."""
        for of_kind in self._of_kinds:
            of_kind.end_streams()
        for relay in self._relays:
            relay.end_streams()
        self._trace.close()
        self._gateway.end_streams()
        await self._server.stop(GRACE_SECONDS)
        for relay in self._relays:
            await relay.close()

    async def close(self) -> None:
        """Close the channels to the devices, and /metrics, which tells of the end as well."""
        async with AsyncExitStack() as steps:
            steps.callback(self._measured.close)
            if self._metrics:
                steps.push_async_callback(asyncio.to_thread, self._metrics.close)
            steps.push_async_callback(self._gateway.close)

    def _upstream(self, name: str) -> Channel:
        """Return the channel of this process to that of a device. Errors: DeviceNotFound."""
        return self._gateway.channel(self._machine.device(name).node.endpoint).grpc

    def _collect(self) -> Iterable[Metric]:
        """Return every metric of the service, read now."""
        yield from self._own_metrics()
        yield from self._server.metrics()
        yield from self._gateway.metrics()
        yield from logs.LIMIT.metrics()
        yield from sandbox_metrics()
        if self._metrics:
            yield from self._metrics.metrics()


async def serve(make: Callable[[Callable[[], None]], MachineServer], sandbox: Sandbox) -> None:
    """Make a server and run it until a signal asks for the end. Errors: those of both.

    `make` gets what the server is to call when it listens, before it serves.
    """
    stop = catch_signals()
    server = make(sandbox.seal)
    try:
        await server.start()
        number = await stop
        log.info("stopping", signal=number.name)
    finally:
        await server.stop()
