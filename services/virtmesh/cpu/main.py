"""`virtmesh-cpu`: the CPU of one machine."""

from __future__ import annotations

import virtmesh.rpc.environment  # noqa: F401 - before grpc is imported

# isort: split
import asyncio
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import structlog

from virtmesh.cpu import service
from virtmesh.cpu.gdb.server import GdbServer
from virtmesh.cpu.guest_plan import GuestPlan
from virtmesh.cpu.images.layout import ImagePaths
from virtmesh.cpu.machine import CpuMachine
from virtmesh.cpu.metrics import cpu_metrics
from virtmesh.cpu.service import CpuService
from virtmesh.cpu.trace import TraceFile
from virtmesh.kernel.front_door import FrontDoor, Serving, serve
from virtmesh.kernel.program import reporting, serving_needs, serving_options
from virtmesh.kinds.lock_options import take_locks
from virtmesh.kinds.option_types import Size
from virtmesh.machine import CpuEntry, Machine, PlicRule, TimeSource, check_memory, load
from virtmesh.rpc import loop
from virtmesh.rpc.locks import NO_LOCKS, Locks
from virtmesh.sandbox import ON, Access, Needs, Sandbox
from virtmesh.telemetry import logging as logs
from virtmesh.telemetry import recorder as trace
from virtmesh_common.api.cpu.v1 import cpu_pb2_grpc
from virtmesh_common.channel import KEEPALIVE_SECONDS
from virtmesh_common.errors import BadMachine
from virtmesh_common.limits import DEFAULTS, Limits, parse_pairs
from virtmesh_common.supervision import CONTROL

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


log = structlog.get_logger(__name__)


GET_REPORT = "/virtmesh.device.v1.DeviceService/GetReport"
REPLACING = ("kernel", "firmware", "initrd", "append", "trace", "gdb")
"""Options that replace what the `[cpu]` table says, as they are."""


@dataclass(frozen=True)
class Plan:
    """What the command line and the machine file come to."""

    machine: Machine
    guest: GuestPlan
    listen: Sequence[str]
    metrics: str | None = None
    recorder: int = trace.EVENTS_DEFAULT
    keepalive: float = KEEPALIVE_SECONDS
    limits: Limits = DEFAULTS
    trace: Path | None = None
    """File for each register access."""
    gdb: str | None = None
    """HOST:PORT for debuggers."""
    locks: Locks = NO_LOCKS
    """Who may call, and at which other places."""
    control: Path | None = None
    """The socket of a supervisor, if there is one."""


class CpuServer:
    """A CPU and its front door, from `start` to `stop`. Errors: BadMachine, BadImage, OSError.

    Errors of `start`: AddressTaken. After one, call `stop`.
    """

    def __init__(self, plan: Plan, seal: Callable[[], None] | None = None) -> None:
        """Prepare it. `seal` is called when it listens everywhere, before it serves."""
        self.machine = CpuMachine(plan.machine, plan.guest, plan.recorder)
        self._plan = plan
        serving = Serving(
            plan.listen,
            plan.metrics,
            plan.keepalive,
            locks=plan.locks,
            limits=plan.limits,
            seal=seal,
            control=plan.control,
        )
        answers = {GET_REPORT: self.machine.reports.report}
        # The services of kinds say of each device that the guest drives it.
        self._front = FrontDoor(
            self.machine, serving, lambda: cpu_metrics(self.machine), answers=answers
        )
        self._cpu = CpuService(self.machine)
        self._gdb: GdbServer | None = None
        self._file: TraceFile | None = None
        self._writing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Serve, attach the devices, and boot the guest when they are there."""
        cpu_pb2_grpc.add_CpuServiceServicer_to_server(self._cpu, self._front.grpc)
        await self._start_extras()
        await self._front.start(service.SERVICE)
        self.machine.start()

    async def _start_extras(self) -> None:
        """Begin the trace, and listen for debuggers. Errors: OSError; AddressTaken; ValueError."""
        machine, plan = self.machine, self._plan
        if plan.trace is not None:
            devices = machine.devices.values()
            self._file = TraceFile(plan.trace, machine.engine, devices, machine.symbols)
            await machine.engine.call(lambda board: board.access_log(True))  # noqa: FBT003
            self._writing = asyncio.create_task(self._file.run(), name="trace")
        if plan.gdb is not None:
            self._gdb = GdbServer(plan.gdb, machine)
            log.info("gdb", address=await self._gdb.start())

    async def _end_trace(self) -> None:
        """Write the rest of the trace."""
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)
        if self._file is not None:
            await asyncio.to_thread(self._file.close)

    async def stop(self) -> None:
        """Let calls under way finish, then give the devices back."""
        async with AsyncExitStack() as steps:
            steps.push_async_callback(self._front.close)
            steps.push_async_callback(self._end_trace)
            steps.push_async_callback(self.machine.stop)
            if self._gdb is not None:
                steps.push_async_callback(self._gdb.close)
            self._cpu.close()
            self.machine.status.close()
            await self._front.end_calls()


def make_plan(options: dict[str, Any]) -> Plan:
    """Read the machine file, and what the command line says instead. Errors: BadMachine."""
    machine = load(options["machine"]).resolve(options["run_dir"])
    if machine.device_tree is not None:
        raise BadMachine(
            f"{options['machine']}: a CPU makes the device tree of its machine itself: leave"
            " device-tree out"
        )
    entry = machine.cpu or CpuEntry()
    given = {key: options[key] for key in REPLACING if options[key]}
    if options["time"]:
        given["time"] = TimeSource(options["time"])
    if options["plic"]:
        given["plic"] = PlicRule(options["plic"])
    entry = replace(entry, **given)
    if entry.kernel is None:
        raise BadMachine(f"{options['machine']}: it names no kernel: add [cpu] kernel, or --kernel")
    if options["memory"] is not None:
        machine = replace(machine, memory=check_memory(options["memory"]))
    images = ImagePaths(
        Path(entry.kernel),
        Path(entry.firmware) if entry.firmware else None,
        Path(entry.initrd) if entry.initrd else None,
    )
    guest = GuestPlan(
        images,
        entry.append,
        time=entry.time.value,
        plic=entry.plic.value,
        quirks=entry.quirks,
        serial_8n1=entry.serial_8n1,
        halted=entry.halted or options["halted"],
    )
    return Plan(
        machine,
        guest,
        options["listen"] or machine.kernel.listen,
        options["metrics"] or machine.kernel.metrics,
        options["recorder"],
        options["keepalive"],
        Limits.of(parse_pairs(options["limits"]), machine.limits),
        Path(entry.trace) if entry.trace else None,
        entry.gdb,
        take_locks(options, machine.locks),
        options["run_dir"] / CONTROL,
    )


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--machine", required=True, type=click.Path(path_type=Path), help="Machine file with [cpu]."
)
@click.option("--kernel", metavar="FILE", help="ELF file, Linux image or raw image to run.")
@click.option("--firmware", metavar="FILE", help="What runs before it in machine mode: OpenSBI.")
@click.option("--initrd", metavar="FILE", help="Initial RAM disk.")
@click.option("--append", metavar="TEXT", help="Kernel command line.")
@click.option("--memory", type=Size(), help="RAM of the guest  [default: as the machine says]")
@click.option(
    "--time",
    type=click.Choice([one.value for one in TimeSource]),
    help="What the guest's clock follows  [default: as the machine file says, or real]",
)
@click.option(
    "--plic",
    type=click.Choice([one.value for one in PlicRule]),
    help="How the interrupt controller takes lines  [default: as the machine file says, or spec]",
)
@click.option("--trace", metavar="FILE", help="Write each register access of the guest there.")
@click.option("--gdb", metavar="HOST:PORT", help="Let gdb attach there; of this host only.")
@click.option("--halted", is_flag=True, help="Wait for Start before the first instruction.")
@serving_options
def main(*, print_dtb: Path | None, form: logs.Format, sandbox: str, **options: Any) -> None:
    """Run a kernel on the devices of a machine."""
    logs.configure(form)
    with reporting("virtmesh-cpu"):
        plan = make_plan(options)
        if print_dtb is None:
            box = Sandbox(needs_of(plan), is_on=sandbox == ON)
            box.confine()
            loop.run(serve(lambda seal: CpuServer(plan, seal), box))
        else:
            print_dtb.write_bytes(make_tree_file(plan))


def needs_of(plan: Plan) -> Needs:
    """Return what the CPU service needs of its sandbox; it makes the file of the trace.

    Images are read again at each reset: other files may be at their paths then.
    """
    devices = plan.machine.devices
    needs = serving_needs(vars(plan).values(), [one.endpoint for one in devices], plan.locks)
    paths = [(path, Access.READ) for path in plan.guest.images.folders]
    if plan.trace is not None:
        with suppress(OSError):  # TraceFile says what is wrong.
            plan.trace.touch()
        paths.append((plan.trace, Access.WRITE))
    return needs + Needs(paths)


def make_tree_file(plan: Plan) -> bytes:
    """Return the device tree as the guest gets it, without padding. Errors: BadImage."""
    from virtmesh.cpu.guest_plan import read_images  # noqa: PLC0415
    from virtmesh.cpu.images.layout import TREE_NAME  # noqa: PLC0415 - few need it

    layout = read_images(plan.machine, plan.guest)
    return next(piece.data for piece in layout.pieces if piece.name == TREE_NAME)


if __name__ == "__main__":
    main()
