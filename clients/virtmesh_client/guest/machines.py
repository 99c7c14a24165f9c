"""The two kinds of guests, and the command lines that start them."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from virtmesh_client.guest.hardware import BLK
from virtmesh_client.guest.host import Kernel, find_program
from virtmesh_common.errors import GuestError

if TYPE_CHECKING:
    from pathlib import Path

OUTPUT_FILE = 3
STATUS_FILE = 4
"""Files of a guest with a script: what the script prints, and its exit status in decimal."""
QEMU_INPUT_TCG = 8
"""First version of QEMU that connects vhost-user input devices without KVM."""


@dataclass(frozen=True)
class Hardware:
    """What a guest has. Sizes in bytes; disks and inputs are sockets of vhost-user back ends."""

    disks: tuple[Path, ...] = ()
    inputs: tuple[Path, ...] = ()
    memory: int = 256 << 20
    cpus: int = 1
    queues: int = 1
    """Of each disk."""
    packed: bool = False
    """Packed virtqueues."""
    kvm: bool = False
    qemu: str = "qemu-system-x86_64"
    """Name or path of QEMU."""


@dataclass(frozen=True)
class Boot:
    """What a guest starts from. `parameters` end its kernel's command line."""

    kernel: Kernel
    initramfs: Path
    parameters: tuple[str, ...] = field(default=())
    script: bool = False
    """Run the script of the initramfs: its output and its status have lines of their own."""


def qemu_command(hardware: Hardware, boot: Boot) -> list[str]:
    """Return the command of a guest under QEMU, its console on the terminal.

    Ctrl-C goes to the guest; Ctrl-A X ends it. Errors: GuestPartMissing; GuestError.
    """
    qemu = find_program(hardware.qemu, "qemu-system-x86")
    if hardware.inputs and not hardware.kvm:
        check_version(qemu)
    command = [str(qemu), "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]
    command += [
        "-machine",
        f"pc,accel={'kvm' if hardware.kvm else 'tcg'},memory-backend=ram,i8042=off",
    ]
    command += ["-cpu", "host" if hardware.kvm else "qemu64", "-smp", str(hardware.cpus)]
    # A back end maps the guest's RAM: it must be a file that is shared.
    ram = f"memory-backend-memfd,id=ram,size={hardware.memory},share=on"
    command += ["-m", f"{hardware.memory}B", "-object", ram]
    command += ["-chardev", "stdio,id=console,mux=on,signal=off"]
    command += ["-serial", "chardev:console", "-mon", "chardev=console"]
    parameters = boot.parameters
    if boot.script:
        for file in (OUTPUT_FILE, STATUS_FILE):
            command += ["-chardev", f"file,id=line{file},path=/dev/fd/{file}"]
            command += ["-serial", f"chardev:line{file}"]
        parameters = ("quiet", "virtmesh_script=ttyS1,ttyS2", *parameters)
    packed = ",packed=on" if hardware.packed else ""
    for number, disk in enumerate(hardware.disks):
        # With reconnect a guest outlives a back end that is started again.
        command += ["-chardev", f"socket,id=blk{number},path={_spell(disk)},reconnect=1"]
        model = f"vhost-user-blk-pci,chardev=blk{number},num-queues={hardware.queues}"
        command += ["-device", model + packed]
    for number, one in enumerate(hardware.inputs):
        command += ["-chardev", f"socket,id=input{number},path={_spell(one)}"]
        command += ["-device", f"vhost-user-input-pci,chardev=input{number}" + packed]
    command += ["-kernel", str(boot.kernel.image), "-initrd", str(boot.initramfs)]
    return [*command, "-append", " ".join(["console=ttyS0", "panic=-1", *parameters])]


def uml_command(hardware: Hardware, boot: Boot) -> list[str]:
    """Return the command of a user-mode Linux, its console on the terminal. Errors: GuestError."""
    if hardware.inputs:
        raise GuestError(
            "user-mode Linux has no driver for input devices: leave them out, or run"
            " virtmesh guest qemu"
        )
    command = [str(boot.kernel.image), f"mem={hardware.memory}", f"initrd={boot.initramfs}"]
    for disk in hardware.disks:
        # It parses PATH:ID[:NUMBER].
        if ":" in str(disk):
            raise GuestError(f"{disk}: user-mode Linux takes no path with a colon in it")
        command.append(f"virtio_uml.device={disk}:{BLK}")
    command += ["con=null", "con0=fd:0,fd:1", "panic=-1"]
    if boot.script:
        command += [f"con1=null,fd:{OUTPUT_FILE}", f"con2=null,fd:{STATUS_FILE}"]
        command += ["quiet", "virtmesh_script=tty1,tty2"]
    return [*command, *boot.parameters]


def check_version(qemu: Path) -> None:
    """Refuse a QEMU that has no vhost-user input devices without KVM. Errors: GuestError."""
    said = subprocess.run(  # noqa: S603 - a program of the system
        [qemu, "--version"], capture_output=True, text=True, check=False
    )
    version = re.search(r"version (\d+)\.(\d+)", said.stdout)
    if version and int(version[1]) < QEMU_INPUT_TCG:
        raise GuestError(
            f"QEMU {version[1]}.{version[2]} connects input devices only under KVM: take"
            f" {QEMU_INPUT_TCG}.0 or newer with --qemu (docs/guests.md), or --kvm, or leave the"
            " input devices out with --blk-socket"
        )


def _spell(path: Path) -> str:
    """Spell a path among the options of QEMU, where a comma ends it."""
    return str(path).replace(",", ",,")
