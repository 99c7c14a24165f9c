"""`virtmesh boot` of Debian's riscv64 kernel, for tests."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc

from tests.support.cli import Cli, eventually, own_folder
from tests.support.guest import Guest
from tests.support.riscv.console import reach_shell, running
from tests.support.riscv.parts import Parts
from tests.support.riscv.writing import MEBIBYTES, make_disk
from virtmesh_common.api.device.v1 import device_pb2 as pb
from virtmesh_common.api.device.v1.device_pb2_grpc import DeviceServiceStub
from virtmesh_common.channel import open_sync_channel
from virtmesh_common.errors import GuestError

MEMORY = "256M"
APPEND = "console=ttyS0"
INPUTS = ("keyboard", "mouse", "tablet")
DISK = "disk.img"
TOLD = "told"
"""File with what `virtmesh boot` tells its user, in the folder that it works in."""


@dataclass(frozen=True)
class Rig:
    """A guest at its shell, and the machine that it runs on."""

    guest: Guest
    cli: Cli

    @property
    def disk(self) -> Path:
        """Image of the disk vda."""
        return self.cli.folder / DISK

    def address(self, device: str) -> str:
        """Return the address of a device's own services."""
        return self.cli.process(device).address

    def kill(self, device: str) -> None:
        """Kill the process of a device (SIGKILL) and wait until another serves in its place."""
        before = self.cli.process(device)
        os.kill(before.pid, signal.SIGKILL)
        eventually(lambda: self.cli.process(device).restarts > before.restarts)
        eventually(lambda: serves(self.address(device)))


def serves(address: str) -> bool:
    """Return whether a device answers at an address."""
    with open_sync_channel(address) as channel:
        try:
            DeviceServiceStub(channel).GetStatus(pb.GetStatusRequest())
        except grpc.RpcError:
            return False
    return True


def boot_command(*arguments: str | Path) -> list[str | Path]:
    """Return the command line of `virtmesh boot`. Time is that of the guest's instructions.

    On a busy host a guest on the wall clock complains that its processor stands still.
    """
    # -P: like the installed command, it imports nothing from the folder that it works in.
    program = [sys.executable, "-P", "-m", "virtmesh_client", "boot"]
    return [*program, "--memory", MEMORY, "--time", "instructions", *arguments]


def linux_command(parts: Parts, *options: str, append: str = "") -> list[str | Path]:
    """Return the command line that boots Debian's kernel; `append` adds parameters to its own."""
    parameters = f"{APPEND} {append}".rstrip()
    files = ("--firmware", parts.firmware, "--initrd", parts.initramfs)
    return boot_command(parts.kernel, *files, "--append", parameters, *options)


def apart(command: Sequence[str | Path]) -> list[str | Path]:
    """Return a command line whose standard error goes to the file TOLD: not amid the console."""
    return ["sh", "-c", f'exec "$@" 2>{TOLD}', "sh", *command]


def environment(cli: Cli) -> dict[str, str]:
    """Return the variables that name the run folder of the machine."""
    return {"VIRTMESH_RUN_DIR": str(cli.run_dir), **cli.environment}


@contextlib.contextmanager
def at_shell(parts: Parts, *options: str, files: Sequence[Path] = ()) -> Iterator[Rig]:
    """Boot with a disk (ext4, with copies of files) and input devices, up to the shell."""
    with own_folder() as cli:
        make_disk(cli.folder / DISK, MEBIBYTES, *files)
        devices = [f"--disk={DISK}", *(f"--input={name}" for name in INPUTS)]
        command = apart(linux_command(parts, *devices, *options))
        with running(command, cli.folder, environment(cli)) as guest:
            try:
                reach_shell(guest)
            except GuestError as error:
                error.add_note((cli.folder / TOLD).read_text())
                raise
            yield Rig(guest, cli)
