"""`virtmesh guest`: run real Linux guests with the devices of a machine."""

# ruff: noqa: FBT001 - click passes each option as a parameter

from __future__ import annotations

import errno
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from virtmesh_client.cli.guest import control
from virtmesh_client.cli.guest.start import GuestKind, StartOptions, start
from virtmesh_client.cli.seconds import Seconds
from virtmesh_client.cli.settings import SIZE, Settings, common, complete_device
from virtmesh_client.cli.show import show_json
from virtmesh_client.guest.command_lines import GuestConfig, qemu_command, uml_command
from virtmesh_client.guest.prerequisites import find_program, find_qemu_kernel, find_uml_kernel
from virtmesh_client.guest.tree import make_image
from virtmesh_common.printable import say

if TYPE_CHECKING:
    from collections.abc import Callable

Function = TypeVar("Function", bound="Callable[..., None]")

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
        "command",
        metavar="COMMAND",
        help="Run a command in the guest, print its output, and exit with its status.",
    ),
    click.option(
        "--serial",
        metavar="PORT",
        shell_complete=complete_device,
        help="Serial port of the machine that is the guest's console; none: this terminal alone"
        "  [default: the machine's console]",
    ),
    click.option(
        "--login", is_flag=True, help="Ask for a log-in on the console: root, no password."
    ),
    click.option(
        "--detach", is_flag=True, help="Run in the background; return when the guest has booted."
    ),
    click.option(
        "--timeout",
        type=Seconds(min_open=True),
        metavar="SECONDS",
        help="Stop the guest after so many seconds.",
    ),
    click.option("--print", "show", is_flag=True, help="Print the command line, do not run it."),
    common,
    click.pass_obj,
)


def guest_options(function: Function) -> Function:
    """Add the options that both kinds of guests have to a command."""
    for option in reversed(COMMON):
        function = option(function)
    return function


@click.group()
def guest() -> None:
    """Boot real Linux with devices of a machine.

    They are those that the machine reserves for guests: `virtmesh up --vhost-user` starts such a
    machine. The console of a guest is the machine's serial port. A guest ends when its shell ends.
    Without a terminal, the shell runs standard input as a script, and this command exits with its
    status.
    """


for command in (control.status, control.reset, control.stop):
    guest.add_command(command)


@guest.command()
@guest_options
def uml(settings: Settings, /, **asked: Any) -> None:
    """Boot user-mode Linux, a Linux kernel that runs as a process, with the disks.

    Ctrl-C stops the guest while it boots; after that press Ctrl-] three times.
    """
    how = StartOptions(**asked)
    start(
        settings,
        GuestKind("uml", uml_command, find_uml_kernel(), has_inputs=False),
        GuestConfig(),
        how,
    )


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
def qemu(settings: Settings, /, folder: Path | None, **asked: Any) -> None:
    """Boot a Debian kernel under QEMU, with the disks and input devices.

    Ctrl-C stops the guest while it boots; after that press Ctrl-] three times.
    """
    hardware = {name: asked.pop(name) for name in ("cpus", "queues", "packed", "kvm", "qemu")}
    how = StartOptions(**asked)
    kind = GuestKind("qemu", qemu_command, find_qemu_kernel(folder), has_inputs=True)
    start(settings, kind, GuestConfig(**hardware), how)


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
    make_image(image, size, [find_program(name) for name in programs])
    if settings.json:
        show_json({"image": str(image), "size_bytes": size})
    elif not settings.quiet:
        say(f"{image}: made a root file system of {size / (1 << 20):g} MiB", err=True)
