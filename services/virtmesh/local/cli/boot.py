"""`virtmesh boot`: a RISC-V kernel on the devices of a machine, its console on the terminal."""

# ruff: noqa: FBT001 - click hands each option over as a parameter

from __future__ import annotations

import virtmesh.telemetry.lean_structlog  # noqa: F401 - before structlog is imported

# isort: split
import shlex
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from virtmesh.local.choice import write_machine
from virtmesh.local.cli.detach import refuse_insecure, run_detached
from virtmesh.local.early import EarlySupervisor
from virtmesh.local.installation import check_host
from virtmesh.local.order import Order
from virtmesh.local.plan import make_plan
from virtmesh.local.quick_machine import quick_machine, quote
from virtmesh.local.supervised import SupervisedMachine
from virtmesh.machine import PlicRule, TimeSource
from virtmesh_client.cli.local import run_dir_option
from virtmesh_client.cli.seconds import Seconds
from virtmesh_client.cli.serial.common import KEY, spell_key
from virtmesh_client.cli.settings import SIZE, Settings, common
from virtmesh_client.cli.show import show_json
from virtmesh_client.local import rundir
from virtmesh_common.errors import BadMachine
from virtmesh_common.printable import say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from virtmesh.local.supervise import Event
    from virtmesh_client.cpu.models import CpuStatus

NAME = "boot"
"""Name of the machine, unless it is given another."""
FAILED = 64
"""Exit status for a guest that ended with code 0 as failed; its own code is added."""
ELF = b"\x7fELF"
FAILED_MAX = 63
"""Codes from this one on have one status: 127."""


@click.command()
@click.argument("kernel", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--firmware",
    type=click.Path(dir_okay=False, path_type=Path),
    help="What runs first, in machine mode: OpenSBI's fw_dynamic.bin or fw_jump.bin.",
)
@click.option("--initrd", type=click.Path(dir_okay=False, path_type=Path), help="Initial RAM disk.")
@click.option("--append", default="", metavar="TEXT", help="Kernel command line.")
@click.option("--memory", type=SIZE, default="128M", show_default=True, help="RAM of the guest.")
@click.option(
    "--disk",
    "disks",
    multiple=True,
    metavar="IMAGE[,size=64M][,ro]",
    help="Add a disk; size makes a missing image.",
)
@click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="PERSONALITY",
    help="Add a keyboard, mouse, tablet or multitouch.",
)
@click.option(
    "--serial",
    is_flag=False,
    flag_value="",
    metavar="[OPTION=VALUE,...]",
    help="Options of the serial port, such as pace; there is one always.",
)
@click.option(
    "--device",
    "devices",
    multiple=True,
    metavar="KIND[,name=NAME][,OPTION=VALUE]",
    help="Add a device of any kind (`virtmesh-device --help`).",
)
@click.option("--no-serial", is_flag=True, help="Leave the serial port out.")
@click.option(
    "--time",
    "time_source",
    type=click.Choice([one.value for one in TimeSource]),
    default=TimeSource.REAL.value,
    show_default=True,
    help="What the guest's clock follows: instructions keep it true on a loaded host.",
)
@click.option(
    "--plic",
    type=click.Choice([one.value for one in PlicRule]),
    default=PlicRule.SPEC.value,
    show_default=True,
    help="How the interrupt controller takes lines.",
)
@click.option(
    "--quirk",
    "quirks",
    multiple=True,
    metavar="NAME=lenient|legacy",
    help="For a kernel grown on QEMU: what is put between it and a virtio device.",
)
@click.option("--serial-8n1", is_flag=True, help="Set the serial port to 8N1, as a boot ROM does.")
@click.option("--halted", is_flag=True, help="Wait for `virtmesh cpu go` before it runs.")
@click.option(
    "--trace",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write each register access there, with the place in the guest's code.",
)
@click.option(
    "--gdb",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help="Let gdb or lldb attach there, of this host only; 0: any port that is free.",
)
@run_dir_option
@click.option("--name", default=NAME, show_default=True, help="Name of the machine.")
@click.option(
    "--escape",
    type=KEY,
    default="ctrl-]",
    show_default=True,
    help="Key that leaves the console and stops the machine: ctrl-a, ^A, or none.",
)
@click.option("-d", "--detach", is_flag=True, help="Return when the guest boots.")
@click.option(
    "--wait",
    type=Seconds(),
    default=30.0,
    show_default=True,
    help="Seconds until every device must be there.",
)
@common
@click.pass_obj
def boot(settings: Settings, /, kernel: Path, detach: bool, wait: float, **asked: Any) -> None:
    """Boot an unmodified RISC-V kernel with devices.

    KERNEL is an ELF file, a Linux image, or a raw image. The serial port is the terminal's: every
    key goes to the guest, Ctrl-C too, and Ctrl-] stops the machine. It ends when the guest powers
    off.

    Exit status: 0 the guest powered off, or you left; 64 + N the guest failed with the code N, 127
    for codes from 63 on; others as of every command.
    """
    refuse_insecure(settings)
    check_host()
    if asked["no_serial"] and asked["serial"] is not None:
        raise click.UsageError("give --serial or --no-serial, not both")
    if asked["gdb"] == 0:
        asked["gdb"] = free_port()
    name = asked["name"]
    run_dir = (asked["run_dir"] or rundir.default(name)).absolute()
    file = write_machine(run_dir, spell(kernel, asked))
    plan = make_plan(file, run_dir, name)
    if detach:
        with EarlySupervisor() as supervisor:
            order = Order(str(file), name=name, run_dir=str(run_dir), wait=wait)
            run_detached(settings, supervisor, order)
        if asked["gdb"] is not None and not (settings.json or settings.quiet):
            say(f"\n{spell_attach(kernel, asked['gdb'])}")
        return
    escape = asked["escape"] if sys.stdin.isatty() else None
    teller = Teller(settings, in_raw_mode=escape is not None)
    with SupervisedMachine(plan, wait, teller.report) as processes:
        # They take time to import: the processes start meanwhile.
        from virtmesh.local.boot import CpuWatch, run_console  # noqa: PLC0415
        from virtmesh_client.machine import connect  # noqa: PLC0415

        processes.wait_ready()
        with connect(plan.kernel.address, request_id=settings.request_id) as machine:
            watch = CpuWatch(machine)
            if asked["gdb"] is not None:
                teller.tell(spell_attach(kernel, asked["gdb"]))
            teller.raw = escape is not None
            if escape is not None:
                key = spell_key(escape) if escape else "no key"
                teller.tell(f"{name}: {key} stops the machine")
            ended = run_console(machine, watch, escape, teller.tell)
            teller.raw = False
            if ended and watch.error is not None:
                processes.check()
                raise watch.error
            status = watch.status
    finish(settings, status if ended else None)


@dataclass
class Teller:
    """Tells the user what happens, beside the output of the guest."""

    settings: Settings
    in_raw_mode: bool
    raw: bool = False
    """True while the terminal is in raw mode, where a line feed does not return."""

    def report(self, event: Event) -> None:
        """Tell what the supervisor reports: before the guest runs all of it, then what fails."""
        if event.kind in {"died", "held", "restarted"} or not (self.raw or self.settings.quiet):
            self.tell(event.message)

    def tell(self, line: str) -> None:
        """Print a line on standard error."""
        if self.settings.quiet:
            return
        end = "\r\n" if self.raw else "\n"
        sys.stderr.write(f"{end}[{line}]{end}" if self.raw else f"{line}{end}")
        sys.stderr.flush()


def free_port() -> int:
    """Return a port of this host that is free just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def spell_attach(kernel: Path, port: int) -> str:
    """Return the command that attaches a debugger, with the kernel's symbols if it has some."""
    command = ["gdb-multiarch", "-ex", f"target remote 127.0.0.1:{port}"]
    with kernel.open("rb") as file:
        if file.read(len(ELF)) == ELF:
            command.append(str(kernel.absolute()))
    return f"to debug: {shlex.join(command)}"


def spell(kernel: Path, asked: dict[str, Any]) -> str:
    """Return the machine file. Errors: BadMachine."""
    return quick_machine(
        asked["name"],
        asked["disks"],
        asked["inputs"],
        None if asked["no_serial"] else asked["serial"] or "",
        devices=asked["devices"],
        settings=[f"memory = {asked['memory']}"],
        tables=["[cpu]", *spell_cpu(kernel, asked)],
    )


def spell_cpu(kernel: Path, asked: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of the table of the CPU. A path is where it was typed. Errors: BadMachine."""
    paths = {"kernel": kernel, **{key: asked[key] for key in ("firmware", "initrd", "trace")}}
    for key, path in paths.items():
        if path is not None:
            yield f"{key} = {quote(str(path.absolute()))}"
    yield f"append = {quote(asked['append'])}"
    yield f"time = {quote(asked['time_source'])}"
    yield f"plic = {quote(asked['plic'])}"
    yield f"serial-8n1 = {str(asked['serial_8n1']).lower()}"
    yield f"halted = {str(asked['halted']).lower()}"
    if asked["gdb"] is not None:
        yield f'gdb = "127.0.0.1:{asked["gdb"]}"'
    yield "[cpu.quirks]"
    for text in asked["quirks"]:
        name, equals, quirk = text.partition("=")
        if not (name and equals and quirk):
            raise BadMachine(f"--quirk {text}: write NAME=lenient or NAME=legacy")
        yield f"{quote(name)} = {quote(quirk)}"


def finish(settings: Settings, status: CpuStatus | None) -> None:
    """Say how the guest has ended, and exit with its status. None: the user left before."""
    code = 0
    if status is not None and status.reason == "fail":
        code = FAILED + min(status.code, FAILED_MAX)
    if settings.json and status is not None:
        show_json(status)
    elif not settings.quiet:
        how = "you left, and the machine is stopped"
        if status is not None:
            failed = f"failed with the code {status.code}"
            how = f"the guest {failed if status.reason == 'fail' else 'powered off'}"
        say(how, err=True)
    if code:
        sys.exit(code)
