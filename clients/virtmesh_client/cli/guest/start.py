"""Starting a guest: on a serial port of the machine, on this terminal, or with a script."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from virtmesh_client.guest.command_lines import BootConfig, GuestConfig
from virtmesh_client.guest.devices import check_root, check_sockets, sockets
from virtmesh_client.guest.plan import GuestPlan
from virtmesh_client.guest.prerequisites import cache_folder, find_program
from virtmesh_client.guest.tree import make_initramfs
from virtmesh_client.local import rundir
from virtmesh_client.local.rundir import GUEST_LOG
from virtmesh_common.errors import GuestError
from virtmesh_common.printable import say
from virtmesh_common.uart.spec import COMPATIBLE
from virtmesh_common.virtio.ids import VirtioId

if TYPE_CHECKING:
    from collections.abc import Callable

    from virtmesh_client.cli.settings import Settings
    from virtmesh_client.guest.prerequisites import GuestKernel
    from virtmesh_client.machine import Machine

SCRIPT_BYTES = 16 << 20
"""Largest script. It is part of the initramfs, which is in the guest's RAM."""
NO_PORT = "none"
"""The value of --serial for a guest without a serial port of the machine."""


@dataclass(frozen=True)
class StartOptions:
    """Options that both kinds of guests have."""

    root: str
    memory: int
    append: str
    programs: tuple[str, ...]
    serial: str | None
    login: bool
    detach: bool
    timeout: float | None
    show: bool
    """Only print the command line of the guest."""
    command: str | None
    """Command to run in the guest instead of a shell."""
    disks: tuple[Path, ...]
    """Sockets of disks that were given."""
    inputs: tuple[Path, ...] = ()

    def check(self) -> None:
        """Refuse options that do not go together. Errors: UsageError."""
        if self.command is not None:
            for name, given in (
                ("--print", self.show),
                ("--detach", self.detach),
                ("--serial", self.serial is not None),
                ("--login", self.login),
            ):
                if given:
                    raise click.UsageError(
                        f"{name} can't be used with --exec: it is for a guest with a console"
                    )
        if self.detach and self.serial == NO_PORT:
            raise click.UsageError(
                f"--detach can't be used with --serial {NO_PORT}: a guest in the background has its"
                " console on a serial port"
            )

    @property
    def script(self) -> bytes | None:
        """Script that the guest's shell runs; None for a guest with a console.

        If standard input is not a terminal, it is the script, unless the guest runs in the
        background. Errors: GuestError if it is too long.
        """
        if self.command is not None:
            return os.fsencode(self.command) + b"\n"
        if self.detach or sys.stdin.isatty():
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
        if self.login:
            parameters.append("virtmesh_login=1")
        if sys.stdout.isatty() and not self.detach:
            size = shutil.get_terminal_size()
            parameters.append(f"virtmesh_size={size.lines}x{size.columns}")
        return (*parameters, *self.append.split())


@dataclass(frozen=True)
class GuestKind:
    """One kind of guest: its name, how it is spelled as a command, and the kernel that it boots."""

    name: str
    command: Callable[[GuestConfig, BootConfig], list[str]]
    kernel: GuestKernel
    has_inputs: bool
    """Whether its kernel has a driver for input devices."""


def start(settings: Settings, kind: GuestKind, config: GuestConfig, how: StartOptions) -> None:
    """Run a guest, or print its command line. `config` lacks the devices and the memory.

    If the guest has a script, this process exits with the status of the script.
    """
    how.check()
    given = bool(how.disks or how.inputs)
    disks, inputs = (how.disks, how.inputs) if given else find_devices(settings)
    inputs = inputs if kind.has_inputs else ()
    config = replace(config, disks=absolute(disks), inputs=absolute(inputs), memory=how.memory)
    boot = BootConfig(kind.kernel, Path(), how.parameters(len(disks)))
    programs = [find_program(name) for name in how.programs]
    if how.show:
        file = cache_folder() / f"{kind.kernel.image.name}.cpio"
        file.parent.mkdir(parents=True, exist_ok=True)
        make_initramfs(file, kind.kernel, programs)
        say(shlex.join(kind.command(config, replace(boot, initramfs=file))))
        return
    script = how.script
    # Its sockets need a short path, so it is not in the run folder.
    folder, kept = Path(tempfile.mkdtemp(prefix="virtmesh-guest-")), False
    try:
        file = folder / "initramfs.cpio"
        make_initramfs(file, kind.kernel, programs, script)
        boot = replace(boot, initramfs=file, script=script is not None)
        if script is None and may_have_port(how, given=given):

            def command(on_port: bool) -> list[str]:  # noqa: FBT001
                return kind.command(config, replace(boot, on_port=on_port))

            kept = OnPort(settings, kind.name, config, how, folder, command).run()
            return
        # Guests need Linux; the rest of the command line does not.
        from virtmesh_client.guest.run import run_at_terminal, run_script  # noqa: PLC0415

        if script is None:
            run_at_terminal(kind.command(config, boot), how.timeout)
            return
        status = run_script(kind.command(config, boot), how.timeout)
    finally:
        if not kept:
            shutil.rmtree(folder, ignore_errors=True)
    sys.exit(status)


def may_have_port(how: StartOptions, *, given: bool) -> bool:
    """Return whether the guest is to have a serial port of the machine, if that has one.

    A guest whose sockets were given may have no machine at all.
    """
    if how.serial is not None or how.detach:
        return how.serial != NO_PORT
    return not given


@dataclass(frozen=True)
class OnPort:
    """A guest whose console may be a serial port: `command` gets whether it is."""

    settings: Settings
    kind: str
    config: GuestConfig
    how: StartOptions
    folder: Path
    command: Callable[[bool], list[str]]

    def run(self) -> bool:
        """Run it. Returns whether it still runs in the background, so that it needs the folder."""
        # Guests need Linux; the rest of the command line does not.
        from virtmesh_client.guest import background, foreground  # noqa: PLC0415
        from virtmesh_client.guest.run import run_at_terminal  # noqa: PLC0415

        how = self.how
        with self.settings.connect() as machine:
            on_port = how.serial is not None or how.detach or has_port(self.settings, machine)
            if not on_port:
                run_at_terminal(self.command(on_port), how.timeout)
                return False
            if not how.detach:
                foreground.run_on_port(self._plan(machine), machine.channel)
                return False
            log = log_file(machine, self.folder)
            background.start(self._plan(machine), machine.address, log)
        if not self.settings.quiet:
            say(f"the guest {self.kind} runs; its console: virtmesh console", err=True)
        return True

    def _plan(self, machine: Machine) -> GuestPlan:
        """Return what is run."""
        named = {one.vhost_user_socket: one.name for one in machine.devices()}
        return GuestPlan(
            kind=self.kind,
            command=self.command(True),  # noqa: FBT003
            folder=self.folder,
            serial=self.how.serial or "",
            disks=[named.get(str(path), path.name) for path in self.config.disks],
            inputs=[named.get(str(path), path.name) for path in self.config.inputs],
            timeout=self.how.timeout,
        )


def has_port(settings: Settings, machine: Machine) -> bool:
    """Return whether a guest can have a serial port of the machine, and say so if it can't."""
    if not any(device.compatible == COMPATIBLE for device in machine.devices()):
        return False
    if machine.address.startswith("unix:"):
        return True
    if not settings.quiet:
        say(
            "the guest has no serial port of the machine, whose address is no unix socket: its"
            " console is this terminal alone",
            err=True,
        )
    return False


def log_file(machine: Machine, folder: Path) -> Path:
    """Return where the keeper of a guest in the background logs: in the machine's run folder."""
    state = rundir.of_address(machine.address)
    return Path(state.run_dir) / GUEST_LOG if state else folder.with_suffix(".log")


def find_devices(settings: Settings) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Return the sockets of the disks and input devices that are reserved for guests.

    Errors: GuestError if there are none, or another guest uses one.
    """
    with settings.connect() as machine:
        devices = machine.devices()
    disks, inputs = sockets(devices, VirtioId.BLOCK), sockets(devices, VirtioId.INPUT)
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
