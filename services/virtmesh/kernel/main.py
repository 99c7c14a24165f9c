"""`virtmesh-kernel`: the kernel service of one machine."""

from __future__ import annotations

import virtmesh.rpc.environment  # noqa: F401 - before grpc is imported

# isort: split
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from virtmesh.drivers.settings import Settings
from virtmesh.kernel.front_door import FrontDoor, Serving, serve
from virtmesh.kernel.guest import service as guest_service
from virtmesh.kernel.guest.guests import Guests
from virtmesh.kernel.kernel import Kernel
from virtmesh.kernel.metrics import kernel_metrics
from virtmesh.kernel.program import reporting, serving_needs, serving_options
from virtmesh.kernel.tree import Binding, make_blob, parse_blob
from virtmesh.kernel.vt import VirtualTerminal
from virtmesh.kinds.lock_options import take_locks
from virtmesh.kinds.option_types import Size
from virtmesh.machine import (
    DoorbellKind,
    InterruptMode,
    KernelEntry,
    Machine,
    check_memory,
    load,
)
from virtmesh.rpc import loop
from virtmesh.rpc.locks import NO_LOCKS, Listener, Locks
from virtmesh.sandbox import ON, Needs, Sandbox
from virtmesh.telemetry import logging as logs
from virtmesh_common.api.kernel.v1 import guest_pb2_grpc
from virtmesh_common.channel import KEEPALIVE_SECONDS
from virtmesh_common.errors import BadMachine
from virtmesh_common.limits import DEFAULTS, Limits, parse_pairs
from virtmesh_common.supervision import CONTROL

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FIND_SECONDS = 0.3
"""How long clients wait at the start for devices to be in use. It takes a tenth of it."""


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
    security: Path | None
    listen_tokens: tuple[str, ...]
    listen_role: tuple[Listener, ...]
    insecure: bool
    limits: tuple[str, ...] = ()


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
    locks: Locks = NO_LOCKS
    """Who may call, and at which other places."""
    limits: Limits = DEFAULTS
    control: Path | None = None
    """The socket of a supervisor, if there is one."""


class KernelServer:
    """A kernel and its front door, from `start` to `stop`. Errors: BadMachine; ValueError.

    Errors of `start`: AddressTaken. After one, call `stop`.
    """

    def __init__(self, plan: Plan, seal: Callable[[], None] | None = None) -> None:
        """Prepare it. `seal` is called when it listens everywhere, before it serves."""
        self.kernel = Kernel(plan.blob, plan.settings, plan.source, plan.bindings, plan.name)
        serving = Serving(
            plan.listen,
            plan.metrics,
            plan.keepalive,
            locks=plan.locks,
            limits=plan.limits,
            seal=seal,
            control=plan.control,
            prepare=self._find_devices,
        )
        self._front = FrontDoor(self.kernel, serving, lambda: kernel_metrics(self.kernel))
        self._guests = Guests(self.kernel)
        self._terminal = VirtualTerminal(self.kernel)

    @property
    def addresses(self) -> Sequence[str]:
        """Where it listens; ports are the actual ones."""
        return self._front.addresses

    @property
    def metrics_address(self) -> str:
        """Where /metrics is, as unix:PATH or HOST:PORT; empty without it."""
        return self._front.metrics_address

    async def start(self) -> None:
        """Bring the devices up, and serve."""
        guests = guest_service.GuestService(self._guests)
        guest_pb2_grpc.add_GuestServiceServicer_to_server(guests, self._front.grpc)
        await self._front.start(guest_service.SERVICE)
        self._guests.start()
        self._terminal.start()

    async def _find_devices(self) -> None:
        """Begin to bring the devices up, and wait a moment for them.

        After a restart they are there: clients that come back find them in use.
        """
        self.kernel.start()
        await self.kernel.settled(FIND_SECONDS)

    async def stop(self) -> None:
        """Let calls under way finish, then give the devices back."""
        async with AsyncExitStack() as steps:
            steps.push_async_callback(self._front.close)
            steps.push_async_callback(self.kernel.stop)
            steps.push_async_callback(self._guests.stop)
            steps.push_async_callback(self._terminal.stop)
            self._guests.end_streams()
            await self._front.end_calls()


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
        locks=take_locks(vars(options).copy(), machine.locks),
        limits=Limits.of(parse_pairs(options.limits), machine.limits),
        control=options.run_dir / CONTROL,
    )


def needs_of(plan: Plan) -> Needs:
    """Return what the kernel service needs of its sandbox. Errors: BadMachine."""
    nodes = parse_blob(plan.blob, plan.bindings).devices
    return serving_needs(vars(plan).values(), [one.endpoint for one in nodes], plan.locks)


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
@serving_options
def main(*, print_dtb: Path | None, form: logs.Format, sandbox: str, **values: Any) -> None:
    """Drive the devices of a machine, and serve them to clients."""
    options = Options(**values)
    if (options.machine is None) == (options.dtb is None):
        raise click.UsageError(
            "give either --machine FILE or --dtb FILE; a machine file can name a device-tree itself"
        )
    logs.configure(form)
    with reporting("virtmesh-kernel"):
        plan = read_plan(options)
        if print_dtb is None:
            box = Sandbox(needs_of(plan), is_on=sandbox == ON)
            box.confine()
            loop.run(serve(lambda seal: KernelServer(plan, seal), box))
        else:
            print_dtb.write_bytes(plan.blob)


if __name__ == "__main__":
    main()
