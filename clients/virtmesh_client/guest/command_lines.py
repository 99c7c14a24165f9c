"""The command lines that start guests: QEMU and user-mode Linux."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from virtmesh_client.guest.prerequisites import GuestKernel, find_program
from virtmesh_common.errors import GuestError
from virtmesh_common.virtio.ids import VirtioId

if TYPE_CHECKING:
    from pathlib import Path

OUTPUT_FILE = 3
STATUS_FILE = 4
"""Descriptors of a guest with a script: the script's output, and its exit status in decimal."""
QEMU_INPUT_TCG = 8
"""First version of QEMU that connects vhost-user input devices without KVM."""


@dataclass(frozen=True)
class GuestConfig:
    """The hardware of a guest. Sizes are in bytes; disks and inputs are vhost-user sockets."""

    disks: tuple[Path, ...] = ()
    inputs: tuple[Path, ...] = ()
    memory: int = 256 << 20
    cpus: int = 1
    queues: int = 1
    """Number of virtqueues of each disk."""
    packed: bool = False
    """Use packed virtqueues."""
    kvm: bool = False
    """Use KVM instead of emulating the processor."""
    qemu: str = "qemu-system-x86_64"
    """Name or path of QEMU."""


@dataclass(frozen=True)
class BootConfig:
    """What a guest boots. `parameters` are added at the end of its kernel command line."""

    kernel: GuestKernel
    initramfs: Path
    parameters: tuple[str, ...] = field(default=())
    script: bool = False
    """Run the script of the initramfs. Its output and its status use separate serial lines."""
    on_port: bool = False
    """The console is a serial port of the machine: Ctrl-A is a byte like any other."""


def qemu_command(config: GuestConfig, boot: BootConfig) -> list[str]:
    """Return the command line of QEMU. The console of the guest is standard input and output.

    Ctrl-C goes to the guest; Ctrl-A X ends it, unless the console is a serial port of the machine:
    then Ctrl-A is for the keeper (hardware.py). Errors: GuestPartMissing; GuestError.
    """
    qemu = find_program(config.qemu, "qemu-system-x86")
    if config.inputs and not config.kvm:
        check_version(qemu)
    command = [str(qemu), "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]
    command += [
        "-machine",
        f"pc,accel={'kvm' if config.kvm else 'tcg'},memory-backend=ram,i8042=off",
    ]
    command += ["-cpu", "host" if config.kvm else "qemu64", "-smp", str(config.cpus)]
    # A back end maps the RAM of the guest, so it must be a shared file.
    ram = f"memory-backend-memfd,id=ram,size={config.memory},share=on"
    command += ["-m", f"{config.memory}B", "-object", ram]
    command += ["-chardev", "stdio,id=console,mux=on,signal=off"]
    command += ["-serial", "chardev:console"]
    if not boot.on_port:
        command += ["-mon", "chardev=console"]
    parameters = boot.parameters
    if boot.script:
        for file in (OUTPUT_FILE, STATUS_FILE):
            command += ["-chardev", f"file,id=line{file},path=/dev/fd/{file}"]
            command += ["-serial", f"chardev:line{file}"]
        parameters = ("quiet", "virtmesh_script=ttyS1,ttyS2", *parameters)
    packed = ",packed=on" if config.packed else ""
    for number, disk in enumerate(config.disks):
        # With reconnect a guest survives a restart of the back end.
        command += ["-chardev", f"socket,id=blk{number},path={_spell(disk)},reconnect=1"]
        # Without it firmware drives the disk by the legacy interface, and finds none.
        modern = "vhost-user-blk-pci,disable-legacy=on"
        model = f"{modern},chardev=blk{number},num-queues={config.queues}"
        command += ["-device", model + packed]
    for number, one in enumerate(config.inputs):
        command += ["-chardev", f"socket,id=input{number},path={_spell(one)}"]
        command += ["-device", f"vhost-user-input-pci,chardev=input{number}" + packed]
    command += ["-kernel", str(boot.kernel.image), "-initrd", str(boot.initramfs)]
    return [*command, "-append", " ".join(["console=ttyS0", "panic=-1", *parameters])]


def uml_command(config: GuestConfig, boot: BootConfig) -> list[str]:
    """Return the command line of user-mode Linux. Its console is standard input and output.

    Errors: GuestError.
    """
    if config.inputs:
        raise GuestError(
            "user-mode Linux has no driver for input devices: leave --input-socket out, or run"
            " virtmesh guest qemu"
        )
    command = [str(boot.kernel.image), f"mem={config.memory}", f"initrd={boot.initramfs}"]
    for disk in config.disks:
        # User-mode Linux parses PATH:ID[:NUMBER].
        if ":" in str(disk):
            raise GuestError(
                f"{disk}: user-mode Linux can't use a path with a colon: choose another run folder"
            )
        command.append(f"virtio_uml.device={disk}:{VirtioId.BLOCK:d}")
    command += ["con=null", "con0=fd:0,fd:1", "panic=-1"]
    if boot.script:
        command += [f"con1=null,fd:{OUTPUT_FILE}", f"con2=null,fd:{STATUS_FILE}"]
        command += ["quiet", "virtmesh_script=tty1,tty2"]
    return [*command, *boot.parameters]


def check_version(qemu: Path) -> None:
    """Check that QEMU supports vhost-user input devices without KVM. Errors: GuestError."""
    said = subprocess.run(  # noqa: S603 - a program of the system
        [qemu, "--version"], capture_output=True, text=True, check=False
    )
    version = re.search(r"version (\d+)\.(\d+)", said.stdout)
    if version and int(version[1]) < QEMU_INPUT_TCG:
        raise GuestError(
            f"QEMU {version[1]}.{version[2]} supports vhost-user input devices only with KVM: use"
            f" QEMU {QEMU_INPUT_TCG}.0 or newer with --qemu (docs/guests.md), or --kvm, or leave"
            " the input devices out with --blk-socket"
        )


def _spell(path: Path) -> str:
    """Escape a path for an option of QEMU, where a comma ends a value."""
    return str(path).replace(",", ",,")
