"""`virtmesh-kernel`: the kernel service of one machine."""

from __future__ import annotations

import virtmesh.rpc.environment  # noqa: F401 - before grpc is imported

# isort: split
import asyncio
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import structlog
import uvloop

from virtmesh.drivers.settings import Settings
from virtmesh.kernel import service
from virtmesh.kernel.gateway import Gateway
from virtmesh.kernel.guest import service as guest_service
from virtmesh.kernel.guest.guests import Guests
from virtmesh.kernel.kernel import Kernel
from virtmesh.kernel.metrics import kernel_metrics
from virtmesh.kernel.service import KernelService
from virtmesh.kernel.tree import Binding, make_blob
from virtmesh.kinds import all_kinds, broken_kinds
from virtmesh.kinds.option_types import Address, Events, Keepalive, Size
from virtmesh.machine import (
    DoorbellKind,
    InterruptMode,
    KernelEntry,
    Machine,
    check_memory,
    load,
)
from virtmesh.rpc.server import GRACE_SECONDS, Server, catch_signals
from virtmesh.telemetry import logging as logs
from virtmesh.telemetry import recorder as trace
from virtmesh.telemetry.exporter import MetricsServer
from virtmesh_common import __version__
from virtmesh_common.api.kernel.v1 import guest_pb2_grpc, kernel_pb2_grpc
from virtmesh_common.api.trace.v1 import trace_pb2_grpc
from virtmesh_common.channel import KEEPALIVE_SECONDS
from virtmesh_common.errors import BadMachine, VirtmeshError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from prometheus_client import Metric

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Options:
    """The options of the command line."""

    machine: Path | None
    dtb: Path | None
    run_dir: Path
    listen: tuple[str, ...]
    metrics: str | None
    doorbell: str | None
    interrupts: str | None
    memory: int | None
    recorder: int
    keepalive: float


@dataclass(frozen=True)
class Plan:
    """What the command line and the machine file come to."""

    blob: bytes
    settings: Settings
    listen: Sequence[str]
    metrics: str | None = None
    source: str = ""
    """Where the device tree comes from, for the boot log."""
    keepalive: float = KEEPALIVE_SECONDS
    """Seconds of silence after which a TCP client is pinged; 0: never."""
    bindings: Sequence[Binding] = ()
    """Services for nodes of a tree that names none."""
    name: str = ""
    """Another name for the machine than the tree has."""


class KernelServer:
    """A kernel and its front door, from `start` to `stop`. Errors: BadMachine; ValueError.

    Errors of `start`: AddressTaken; OSError for metrics. After one, call `stop`.
    """

    def __init__(self, plan: Plan) -> None:
        self.kernel = Kernel(plan.blob, plan.settings, plan.source, plan.bindings, plan.name)
        self._plan = plan
        self._gateway = Gateway(self.kernel)
        self._server = Server(plan.listen, [self._gateway], keepalive=plan.keepalive)
        self._trace = trace.TracePlane(self.kernel.traced)
        self._of_kinds = [
            make(self.kernel.driver) for one in all_kinds() for make in one.kernel_services
        ]
        self._guests = Guests(self.kernel)
        self._metrics: MetricsServer | None = None

    @property
    def addresses(self) -> Sequence[str]:
        """Where it listens; ports are the actual ones."""
        return self._server.addresses

    @property
    def metrics_address(self) -> str:
        """Where /metrics is, as HOST:PORT; empty without it."""
        return self._metrics.address if self._metrics else ""

    async def start(self) -> None:
        """Serve, and begin to bring the devices up."""
        grpc = self._server.grpc
        kernel_pb2_grpc.add_KernelServiceServicer_to_server(KernelService(self.kernel), grpc)
        guests = guest_service.GuestService(self._guests)
        guest_pb2_grpc.add_GuestServiceServicer_to_server(guests, grpc)
        for of_kind in self._of_kinds:
            of_kind.add_to(grpc)
        for name, why in broken_kinds().items():
            log.warning("a kind of device can't be used", kind=name, why=why)
        trace_pb2_grpc.add_TraceServiceServicer_to_server(self._trace, grpc)
        if self._plan.metrics:
            self._metrics = MetricsServer(
                self._plan.metrics,
                self._collect,
                labels={"machine": self.kernel.machine.name},
            )
            log.info("metrics", address=self._metrics.address)
        own = (service.SERVICE, guest_service.SERVICE, trace.SERVICE)
        names = (*own, *(one.name for one in self._of_kinds))
        await self._server.start(names, self._gateway.offered)
        self.kernel.start()
        self._guests.start()

    def _collect(self) -> Iterable[Metric]:
        """Return every metric of the kernel service, read now."""
        yield from kernel_metrics(self.kernel)
        yield from self._server.calls.metrics()
        yield from logs.LIMIT.metrics()

    async def stop(self) -> None:
        """Let calls under way finish, then give the devices back."""
        async with AsyncExitStack() as steps:
            if self._metrics:
                steps.push_async_callback(asyncio.to_thread, self._metrics.close)
            steps.push_async_callback(self._gateway.close)
            steps.push_async_callback(self.kernel.stop)
            steps.push_async_callback(self._guests.stop)
            for of_kind in self._of_kinds:
                of_kind.end_streams()
            self._trace.close()
            self._guests.end_streams()
            self._gateway.end_streams()
            await self._server.stop(GRACE_SECONDS)


async def run(plan: Plan) -> None:
    """Serve until a signal asks for the end."""
    stop = catch_signals()
    server = KernelServer(plan)
    try:
        await server.start()
        number = await stop
        log.info("stopping", signal=number.name)
    finally:
        await server.stop()


def read_plan(options: Options) -> Plan:
    """Read the machine file, the device tree, or both. Errors: BadMachine; ValueError."""
    machine = Machine(kernel=KernelEntry(listen=()))
    if options.machine is not None:
        machine = load(options.machine).resolve(options.run_dir)
    tree = options.dtb or machine.device_tree
    blob = make_blob(machine) if tree is None else _read_blob(Path(tree))
    source = str(tree or options.machine)
    listen = options.listen or machine.kernel.listen
    if not listen:
        raise BadMachine("a device tree names no address to listen on: add --listen unix:PATH")
    memory = options.memory
    if memory is None and machine.device_tree is not None:
        memory = machine.memory
    settings = Settings(
        doorbell=DoorbellKind(options.doorbell or machine.doorbell),
        interrupts=InterruptMode(options.interrupts or machine.interrupts),
        memory=None if memory is None else check_memory(memory),
        recorder=options.recorder,
    )
    metrics = options.metrics or machine.kernel.metrics
    name = machine.name if machine.device_tree is not None else ""
    return Plan(
        *(blob, settings, listen, metrics, source, options.keepalive),
        bindings=_bindings(machine),
        name=name,
    )


def _bindings(machine: Machine) -> tuple[Binding, ...]:
    """Return the services that a machine file binds to nodes by address."""
    return tuple(
        Binding(
            address=device.node_address,
            name=device.name,
            endpoint=device.endpoint,
            handover=device.handover,
            reserved=device.vhost_user is not None,
            properties=device.properties(),
        )
        for device in machine.devices
        if device.node_address is not None
    )


def _read_blob(path: Path) -> bytes:
    """Read a flattened device tree."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadMachine(f"{path}: cannot be read: {error.strerror}") from error


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--machine", type=click.Path(path_type=Path), help="Machine file.")
@click.option("--dtb", type=click.Path(path_type=Path), help="Flattened device tree instead.")
@click.option(
    "--run-dir",
    type=click.Path(path_type=Path),
    default=Path(),
    help="Folder of relative unix sockets  [default: the current one]",
)
@click.option(
    "--listen",
    multiple=True,
    type=Address(),
    metavar="ADDRESS",
    help="unix:PATH or HOST:PORT; may be repeated  [default: as the machine file says]",
)
@click.option("--metrics", metavar="HOST:PORT", help="Serve /metrics there; port 0: any.")
@click.option(
    "--doorbell",
    type=click.Choice([kind.value for kind in DoorbellKind]),
    help="How queues are rung  [default: as the machine file says, or eventfd]",
)
@click.option(
    "--interrupts",
    type=click.Choice([mode.value for mode in InterruptMode]),
    help="How used buffers are noticed  [default: as the machine file says, or interrupt]",
)
@click.option("--memory", type=Size(), help="RAM of each driver  [default: as the machine says]")
@click.option(
    "--keepalive",
    type=Keepalive(),
    default=KEEPALIVE_SECONDS,
    show_default=True,
    help="Seconds of silence after which a TCP client is pinged; 0: never.",
)
@click.option(
    "--recorder",
    type=Events(),
    default=trace.EVENTS_DEFAULT,
    show_default=True,
    help="Events that each driver's flight recorder keeps, 40 bytes each; 0: off.",
)
@click.option(
    "--print-dtb",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the device tree there (for dtc, or QEMU) and end.",
)
@click.option(
    "--log", "form", type=click.Choice(logs.FORMATS), default="text", help="Form of the log."
)
@click.version_option(__version__)
def main(*, print_dtb: Path | None, form: logs.Format, **values: Any) -> None:
    """Drive the devices of a machine, and serve them to clients."""
    options = Options(**values)
    if (options.machine is None) == (options.dtb is None):
        raise click.UsageError(
            "give either --machine FILE or --dtb FILE; a machine file can name a device-tree itself"
        )
    logs.configure(form)
    try:
        plan = read_plan(options)
        if print_dtb is None:
            uvloop.run(run(plan))
        else:
            print_dtb.write_bytes(plan.blob)
    except (VirtmeshError, OSError, ValueError) as error:
        click.echo(f"virtmesh-kernel: {' '.join(str(error).split())}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
