"""`virtmesh guest`: real Linux guests on the devices of a machine."""

# ruff: noqa: FBT001, PLR0913, PLR0917 - click hands each option over as a parameter

from __future__ import annotations

import os
import shlex
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from virtmesh_client.cli.settings import SIZE, Settings, common
from virtmesh_client.cli.show import show_json
from virtmesh_client.guest.hardware import BLK, INPUT, check_root, check_sockets, sockets
from virtmesh_client.guest.host import (
    cache_folder,
    find_program,
    find_qemu_kernel,
    find_uml_kernel,
)
from virtmesh_client.guest.machines import Boot, Hardware, qemu_command, uml_command
from virtmesh_client.guest.tree import make_image, make_initramfs
from virtmesh_common.errors import GuestError

if TYPE_CHECKING:
    from collections.abc import Callable

    from virtmesh_client.guest.host import Kernel

Function = TypeVar("Function", bound="Callable[..., None]")

SCRIPT_BYTES = 16 << 20
"""The longest script: it travels in the guest's RAM."""

with_option = click.option(
    "--with",
    "programs",
    multiple=True,
    metavar="PROGRAM",
    help="Take a program of this host along, with its libraries; may be repeated.",
)
blk_option = click.option(
    "--blk-socket",
    "disks",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Socket of a disk, instead of those of the machine; may be repeated.",
)
COMMON = (
    with_option,
    blk_option,
    click.option(
        "--root",
        default="vda",
        show_default=True,
        metavar="DISK",
        help="Disk with the root file system, as the guest calls it; none: stay in RAM.",
    ),
    click.option("--memory", type=SIZE, default="512M", show_default=True, help="RAM."),
    click.option("--append", metavar="TEXT", default="", help="More for the kernel command line."),
    click.option(
        "--exec",
        "script",
        metavar="COMMAND",
        help="Run a command in the guest, and exit with its status; standard output is its output.",
    ),
    click.option(
        "--timeout",
        type=click.FloatRange(min=0, min_open=True),
        metavar="SECONDS",
        help="Stop after so many seconds.",
    ),
    click.option("--print", "show", is_flag=True, help="Print the command, and do not run it."),
    common,
    click.pass_obj,
)


@dataclass(frozen=True)
class Start:
    """What the command line says of the start of a guest."""

    root: str
    append: str
    programs: tuple[str, ...]
    timeout: float | None
    show: bool
    """Only print the command."""
    command: str | None
    """What to run, instead of a shell."""

    @property
    def script(self) -> bytes | None:
        """What the guest's shell is to run; None for a shell on the terminal.

        Without a terminal, standard input is the script. Errors: GuestError.
        """
        if self.command is not None:
            return os.fsencode(self.command) + b"\n"
        if sys.stdin.isatty():
            return None
        script = sys.stdin.buffer.read(SCRIPT_BYTES + 1)
        if len(script) > SCRIPT_BYTES:
            raise GuestError(
                f"standard input has more than the {SCRIPT_BYTES >> 20} MiB that a script may have:"
                " put data on a disk"
            )
        return script

    def parameters(self, disks: int) -> tuple[str, ...]:
        """Return what is added to the kernel's command line of a guest with so many disks.

        Errors: GuestError for a root file system on a disk that it does not get.
        """
        parameters = []
        if disks and self.root != "none":
            check_root(self.root, disks)
            parameters.append(f"virtmesh_root={self.root}")
        if sys.stdout.isatty():
            size = shutil.get_terminal_size()
            parameters.append(f"virtmesh_size={size.lines}x{size.columns}")
        return (*parameters, *self.append.split())


def guest_options(function: Function) -> Function:
    """Give a command the options of every guest."""
    for option in reversed(COMMON):
        function = option(function)
    return function


@click.group()
def guest() -> None:
    """Boot real Linux on the devices that a machine leaves to guests.

    `virtmesh up --vhost-user` starts such a machine. A guest ends when its shell does. Without a
    terminal, that shell reads standard input to its end, and its exit status is the command's.
    """


@guest.command()
@guest_options
def uml(
    settings: Settings,
    programs: tuple[str, ...],
    disks: tuple[Path, ...],
    root: str,
    memory: int,
    append: str,
    script: str | None,
    timeout: float | None,
    show: bool,
) -> None:
    """Boot user-mode Linux: a Linux kernel as a plain process, with the disks.

    While it boots Ctrl-C stops it, then Ctrl-] three times.
    """
    if not disks:
        disks, _ = find_devices(settings)
    hardware = Hardware(disks=absolute(disks), memory=memory)
    how = Start(root, append, programs, timeout, show, script)
    start(uml_command, hardware, find_uml_kernel(), how)


@guest.command()
@click.option(
    "--input-socket",
    "inputs",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Socket of an input device, instead of those of the machine; may be repeated.",
)
@click.option(
    "--kernel",
    "folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder that a package of a kernel is unpacked in  [default: what is installed]",
)
@click.option("--qemu", default="qemu-system-x86_64", show_default=True, help="QEMU to run.")
@click.option("--cpus", type=click.IntRange(1, 64), default=1, show_default=True)
@click.option(
    "--queues", type=click.IntRange(1, 16), default=1, show_default=True, help="Of disks."
)
@click.option("--packed", is_flag=True, help="Use packed virtqueues.")
@click.option("--kvm", is_flag=True, help="Use /dev/kvm, instead of emulating the processor.")
@guest_options
def qemu(
    settings: Settings,
    inputs: tuple[Path, ...],
    folder: Path | None,
    qemu: str,
    cpus: int,
    queues: int,
    packed: bool,
    kvm: bool,
    programs: tuple[str, ...],
    disks: tuple[Path, ...],
    root: str,
    memory: int,
    append: str,
    script: str | None,
    timeout: float | None,
    show: bool,
) -> None:
    """Boot a kernel of Debian's under QEMU, with the disks and input devices.

    While it boots Ctrl-C stops it, then Ctrl-A X or Ctrl-] three times.
    """
    if not disks and not inputs:
        disks, inputs = find_devices(settings)
    hardware = Hardware(
        disks=absolute(disks),
        inputs=absolute(inputs),
        memory=memory,
        cpus=cpus,
        queues=queues,
        packed=packed,
        kvm=kvm,
        qemu=qemu,
    )
    how = Start(root, append, programs, timeout, show, script)
    start(qemu_command, hardware, find_qemu_kernel(folder), how)


@guest.command()
@click.argument("image", type=click.Path(path_type=Path))
@click.option("--size", type=SIZE, default="64M", show_default=True, help="Size of the image.")
@click.option("--force", is_flag=True, help="Replace a file.")
@with_option
@common
@click.pass_obj
def image(
    settings: Settings, image: Path, size: int, force: bool, programs: tuple[str, ...]
) -> None:
    """Make a disk image with a small root file system: busybox, and a shell as its init."""
    if image.exists() and not force:
        raise FileExistsError(17, "there is such a file", str(image))
    make_image(image, size, find_programs(programs))
    if settings.json:
        show_json({"image": str(image), "size_bytes": size})
    elif not settings.quiet:
        click.echo(f"{image}: a root file system of {size / (1 << 20):g} MiB", err=True)


def find_devices(settings: Settings) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Return the sockets of the machine's disks and input devices. Errors: GuestError."""
    with settings.connect() as machine:
        devices = machine.devices()
    disks, inputs = sockets(devices, BLK), sockets(devices, INPUT)
    if not disks and not inputs:
        raise GuestError(
            "the machine leaves no device to guests: start it with virtmesh up --vhost-user, or"
            " write vhost-user = true in its machine file"
        )
    return disks, inputs


def absolute(paths: tuple[Path, ...]) -> tuple[Path, ...]:
    """Return paths that hold anywhere. Errors: GuestError for what is no socket."""
    check_sockets(paths)
    return tuple(path.absolute() for path in paths)


def find_programs(names: tuple[str, ...]) -> list[Path]:
    """Return the programs that a guest gets. Errors: GuestPartMissing."""
    return [find_program(name) for name in names]


def start(
    command: Callable[[Hardware, Boot], list[str]], hardware: Hardware, kernel: Kernel, how: Start
) -> None:
    """Make the initramfs, and run the guest or print its command.

    Ends with the exit status of its script, if it has one.
    """
    parameters = how.parameters(len(hardware.disks))
    programs = find_programs(how.programs)
    if how.show:
        if how.command is not None:
            raise click.UsageError("--print shows what a terminal would run: not with --exec")
        file = cache_folder() / f"{kernel.image.name}.cpio"
        file.parent.mkdir(parents=True, exist_ok=True)
        make_initramfs(file, kernel, programs)
        click.echo(shlex.join(command(hardware, Boot(kernel, file, parameters))))
        return
    # Guests need Linux; the rest of the command line does not.
    from virtmesh_client.guest.run import run_at_terminal, run_script  # noqa: PLC0415

    script = how.script
    with tempfile.TemporaryDirectory(prefix="virtmesh-guest-") as folder:
        file = Path(folder) / "initramfs.cpio"
        make_initramfs(file, kernel, programs, script)
        boot = Boot(kernel, file, parameters, script=script is not None)
        if script is None:
            run_at_terminal(command(hardware, boot), how.timeout)
            return
        status = run_script(command(hardware, boot), how.timeout)
    sys.exit(status)
