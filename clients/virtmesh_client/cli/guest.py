"""`virtmesh guest`: run real Linux guests with the devices of a machine."""

# ruff: noqa: FBT001, PLR0913, PLR0917 - click passes each option as a parameter

from __future__ import annotations

import errno
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
from virtmesh_client.guest.command_lines import BootConfig, GuestConfig, qemu_command, uml_command
from virtmesh_client.guest.devices import BLK, INPUT, check_root, check_sockets, sockets
from virtmesh_client.guest.prerequisites import (
    cache_folder,
    find_program,
    find_qemu_kernel,
    find_uml_kernel,
)
from virtmesh_client.guest.tree import make_image, make_initramfs
from virtmesh_common.errors import GuestError

if TYPE_CHECKING:
    from collections.abc import Callable

    from virtmesh_client.guest.prerequisites import GuestKernel

Function = TypeVar("Function", bound="Callable[..., None]")

SCRIPT_BYTES = 16 << 20
"""Largest script. It is part of the initramfs, which is in the guest's RAM."""

with_option = click.option(
    "--with",
    "programs",
    multiple=True,
    metavar="PROGRAM",
    help="Add a program of this host, with its libraries, to the guest; may be repeated.",
)
blk_option = click.option(
    "--blk-socket",
    "disks",
    multiple=True,
    type=click.Path(path_type=Path),
    help="vhost-user socket of a disk, instead of the disks of the machine; may be repeated.",
)
COMMON = (
    with_option,
    blk_option,
    click.option(
        "--root",
        default="vda",
        show_default=True,
        metavar="DISK",
        help="Disk with the root file system, by its name in the guest; none stays in RAM.",
    ),
    click.option(
        "--memory", type=SIZE, default="512M", show_default=True, help="RAM of the guest."
    ),
    click.option(
        "--append", metavar="TEXT", default="", help="Add this to the kernel command line."
    ),
    click.option(
        "--exec",
        "script",
        metavar="COMMAND",
        help="Run a command in the guest, print its output, and exit with its status.",
    ),
    click.option(
        "--timeout",
        type=click.FloatRange(min=0, min_open=True),
        metavar="SECONDS",
        help="Stop the guest after so many seconds.",
    ),
    click.option("--print", "show", is_flag=True, help="Print the command line, do not run it."),
    common,
    click.pass_obj,
)


@dataclass(frozen=True)
class StartOptions:
    """Options that both kinds of guests have."""

    root: str
    append: str
    programs: tuple[str, ...]
    timeout: float | None
    show: bool
    """Only print the command line of the guest."""
    command: str | None
    """Command to run in the guest instead of a shell."""

    @property
    def script(self) -> bytes | None:
        """Script that the guest's shell runs; None for a shell on the terminal.

        If standard input is not a terminal, it is the script. Errors: GuestError if it is too long.
        """
        if self.command is not None:
            return os.fsencode(self.command) + b"\n"
        if sys.stdin.isatty():
            return None
        script = sys.stdin.buffer.read(SCRIPT_BYTES + 1)
        if len(script) > SCRIPT_BYTES:
            raise GuestError(
                f"the script on standard input is larger than {SCRIPT_BYTES >> 20} MiB: put its"
                " data on a disk"
            )
        return script

    def parameters(self, disks: int) -> tuple[str, ...]:
        """Return the additions to the kernel command line of a guest with so many disks.

        Errors: GuestError if the disk of the root file system is not one of them.
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
    """Add the options that both kinds of guests have to a command."""
    for option in reversed(COMMON):
        function = option(function)
    return function


@click.group()
def guest() -> None:
    """Boot real Linux with devices of a machine.

    They are those that the machine reserves for guests: `virtmesh up --vhost-user` starts such a
    machine. A guest ends when its shell ends. Without a
    terminal, the shell runs standard input as a script, and this command exits with its status.
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
    """Boot user-mode Linux, a Linux kernel that runs as a process, with the disks.

    Ctrl-C stops the guest while it boots; after that press Ctrl-] three times.
    """
    if not disks:
        disks, _ = find_devices(settings)
    config = GuestConfig(disks=absolute(disks), memory=memory)
    how = StartOptions(root, append, programs, timeout, show, script)
    start(uml_command, config, find_uml_kernel(), how)


@guest.command()
@click.option(
    "--input-socket",
    "inputs",
    multiple=True,
    type=click.Path(path_type=Path),
    help="vhost-user socket of an input device, instead of the devices of the machine; may be"
    " repeated.",
)
@click.option(
    "--kernel",
    "folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with an unpacked kernel package  [default: the installed kernel]",
)
@click.option(
    "--qemu", default="qemu-system-x86_64", show_default=True, help="Name or path of QEMU."
)
@click.option(
    "--cpus", type=click.IntRange(1, 64), default=1, show_default=True, help="Number of CPUs."
)
@click.option(
    "--queues", type=click.IntRange(1, 16), default=1, show_default=True, help="Queues per disk."
)
@click.option("--packed", is_flag=True, help="Use packed virtqueues.")
@click.option("--kvm", is_flag=True, help="Use /dev/kvm instead of emulating the processor.")
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
    """Boot a Debian kernel under QEMU, with the disks and input devices.

    Ctrl-C stops the guest while it boots; after that press Ctrl-A X, or Ctrl-] three times.
    """
    if not disks and not inputs:
        disks, inputs = find_devices(settings)
    config = GuestConfig(
        disks=absolute(disks),
        inputs=absolute(inputs),
        memory=memory,
        cpus=cpus,
        queues=queues,
        packed=packed,
        kvm=kvm,
        qemu=qemu,
    )
    how = StartOptions(root, append, programs, timeout, show, script)
    start(qemu_command, config, find_qemu_kernel(folder), how)


@guest.command()
@click.argument("image", type=click.Path(path_type=Path))
@click.option("--size", type=SIZE, default="64M", show_default=True, help="Size of the image.")
@click.option("--force", is_flag=True, help="Replace IMAGE if it exists.")
@with_option
@common
@click.pass_obj
def image(
    settings: Settings, image: Path, size: int, force: bool, programs: tuple[str, ...]
) -> None:
    """Make a disk image with a small root file system: busybox, and a shell as its init."""
    if image.exists() and not force:
        raise FileExistsError(errno.EEXIST, "the file exists", str(image))
    make_image(image, size, find_programs(programs))
    if settings.json:
        show_json({"image": str(image), "size_bytes": size})
    elif not settings.quiet:
        click.echo(f"{image}: made a root file system of {size / (1 << 20):g} MiB", err=True)


def find_devices(settings: Settings) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Return the sockets of the disks and input devices that are reserved for guests.

    Errors: GuestError if there are none, or another guest uses one.
    """
    with settings.connect() as machine:
        devices = machine.devices()
    disks, inputs = sockets(devices, BLK), sockets(devices, INPUT)
    if not disks and not inputs:
        raise GuestError(
            "the machine reserves no device for guests: start it with virtmesh up --vhost-user, or"
            " write vhost-user = true in its machine file"
        )
    return disks, inputs


def absolute(paths: tuple[Path, ...]) -> tuple[Path, ...]:
    """Return absolute paths of sockets. Errors: GuestError if one is not a socket."""
    check_sockets(paths)
    return tuple(path.absolute() for path in paths)


def find_programs(names: tuple[str, ...]) -> list[Path]:
    """Return the paths of programs for a guest. Errors: GuestPartMissing."""
    return [find_program(name) for name in names]


def start(
    command: Callable[[GuestConfig, BootConfig], list[str]],
    config: GuestConfig,
    kernel: GuestKernel,
    how: StartOptions,
) -> None:
    """Make the initramfs, and run the guest or print its command line.

    If the guest has a script, this process exits with the status of the script.
    """
    parameters = how.parameters(len(config.disks))
    programs = find_programs(how.programs)
    if how.show:
        if how.command is not None:
            raise click.UsageError(
                "--print can't be used with --exec: it prints the command line of a guest on a"
                " terminal"
            )
        file = cache_folder() / f"{kernel.image.name}.cpio"
        file.parent.mkdir(parents=True, exist_ok=True)
        make_initramfs(file, kernel, programs)
        click.echo(shlex.join(command(config, BootConfig(kernel, file, parameters))))
        return
    # Guests need Linux; the rest of the command line does not.
    from virtmesh_client.guest.run import run_at_terminal, run_script  # noqa: PLC0415

    script = how.script
    with tempfile.TemporaryDirectory(prefix="virtmesh-guest-") as folder:
        file = Path(folder) / "initramfs.cpio"
        make_initramfs(file, kernel, programs, script)
        boot = BootConfig(kernel, file, parameters, script=script is not None)
        if script is None:
            run_at_terminal(command(config, boot), how.timeout)
            return
        status = run_script(command(config, boot), how.timeout)
    sys.exit(status)
