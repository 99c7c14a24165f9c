"""What `virtmesh up` starts: the processes of a machine and their command lines."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from virtmesh import machine as machine_file
from virtmesh.kinds import find_kind
from virtmesh.local.checks import check_machine
from virtmesh.local.installation import check_host
from virtmesh.local.template.packets import Start
from virtmesh_common.channel import UNIX_PATH_LIMIT, check_address
from virtmesh_common.errors import BadMachine
from virtmesh_common.proxy import is_loopback
from virtmesh_common.supervision import CONTROL

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

HANDOVER_SUFFIX = ".handover"
"""What `virtmesh-device` adds to its first unix address to make the handover socket's path."""
SOCKET = "kernel.sock"
"""Socket in the run folder for who watches over a machine whose file names no socket."""
METRICS = "metrics.sock"
"""Socket in the run folder that has the page of a machine, unless its file says another place."""


@dataclass(frozen=True)
class Command:
    """One process to start."""

    name: str
    kind: str
    start: Start
    address: str
    metrics: str = ""
    restart_options: tuple[str, ...] = ()
    """Added when it is started again after it died."""
    watchdog: machine_file.WatchdogPolicy = machine_file.WatchdogPolicy.REPORT
    """What is done with it when it does not answer."""

    def request(self, *, again: bool) -> Start:
        """Return what the template is asked for."""
        if not again:
            return self.start
        return replace(self.start, arguments=[*self.start.arguments, *self.restart_options])


@dataclass(frozen=True)
class Plan:
    """A machine to start, in its run folder."""

    name: str
    run_dir: Path
    devices: tuple[Command, ...]
    kernel: Command
    """The kernel service, or the CPU that takes its place."""
    warnings: tuple[str, ...] = ()
    """What should not stay as it is."""
    watched: str = ""
    """The unix socket of the kernel service that the supervisor asks."""
    addresses: tuple[str, ...] = ()
    """Where the kernel service listens, for clients of every kind."""
    security: Path | None = None
    """The security folder."""

    @property
    def control(self) -> Path:
        """The socket by which the supervisor is asked."""
        return self.run_dir / CONTROL

    @property
    def commands(self) -> tuple[Command, ...]:
        """All processes, in the order in which they start."""
        return (*self.devices, self.kernel)


def make_plan(file: Path, run_dir: Path, name: str | None = None) -> Plan:
    """Plan the machine of a machine file.

    Errors: BadMachine, also for what `check_machine` finds.
    """
    check_host()
    machine = machine_file.load(file).resolve(run_dir)
    taken: set[int] = set()
    limits = machine.limits.arguments()
    devices = tuple(_device(entry, taken, limits) for entry in machine.devices)
    check_machine(machine)
    metrics = pick_port(page_address(machine, run_dir), taken)
    options = ["--machine", str(file), "--run-dir", str(run_dir)]
    watched = watched_address(machine, run_dir)
    for address in dict.fromkeys((*machine.kernel.listen, watched)):
        options += ["--listen", address]
    if metrics:
        options += ["--metrics", metrics]
    who = "kernel" if machine.cpu is None else "cpu"
    start = Start(f"virtmesh.{who}.main", f"virtmesh-{who}", options)
    kernel = Command(who, who, start, local_address(machine, watched), metrics)
    kernel = replace(kernel, watchdog=machine.kernel.watchdog)
    warnings = tuple(machine.locks.warnings((*machine.kernel.listen, metrics)))
    locks = machine.locks
    every = (*machine.kernel.listen, *locks.tokens, *(one.address for one in locks.roles))
    addresses = tuple(one for one in every if not one.endswith(":0"))  # only its log has that port
    return Plan(
        name or machine.name, run_dir, devices, kernel, warnings, watched, addresses, locks.security
    )


def watched_address(machine: machine_file.Machine, run_dir: Path) -> str:
    """Return the unix socket that the supervisor asks: the first one, or one of its own.

    A TCP listener may want a certificate, which the supervisor has none of.
    Errors: BadMachine when the path is too long for a socket.
    """
    given = (one for one in machine.kernel.listen if one.startswith("unix:"))
    try:
        check_address(f"unix:{run_dir / CONTROL}")
        return next(given, "") or check_address(f"unix:{run_dir / SOCKET}")
    except ValueError as error:
        raise BadMachine(f"listen: {error} with --run-dir") from error


def local_address(machine: machine_file.Machine, watched: str) -> str:
    """Return where clients on this host reach a machine, with nothing to show."""
    first = machine.kernel.listen[0]
    is_plain = machine.locks.security is None and is_loopback(first)
    return first if first.startswith("unix:") or is_plain else watched


def page_address(machine: machine_file.Machine, run_dir: Path) -> str:
    """Return where the page of metrics is: without another place, in the run folder.

    Errors: BadMachine when the path is too long for a socket.
    """
    try:
        return machine.kernel.metrics or check_address(f"unix:{run_dir / METRICS}")
    except ValueError as error:
        raise BadMachine(f"metrics: {error} with --run-dir") from error


def pick_port(address: str, taken: set[int]) -> str:
    """Replace port 0 by a free one, so that a restarted process keeps its address."""
    host, colon, port = address.rpartition(":")
    if not colon or port != "0":
        return address
    while True:
        family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
        with socket.socket(family) as probe:
            probe.bind((host.strip("[]"), 0))
            number: int = probe.getsockname()[1]
        if number not in taken:
            taken.add(number)
            return f"{host}:{number}"


def _device(
    entry: machine_file.DeviceEntry, taken: set[int], limits: Sequence[str] = ()
) -> Command:
    """Plan one device. Errors: BadMachine when the paths of its sockets are too long."""
    if entry.endpoint.startswith("unix:") and entry.handover is None:
        excess = len(os.fsencode(entry.endpoint[5:] + HANDOVER_SUFFIX)) - UNIX_PATH_LIMIT
        if excess > 0:
            raise BadMachine(
                f"the path of {entry.endpoint}{HANDOVER_SUFFIX} is {excess} bytes too long for a"
                " socket: choose a shorter folder with --run-dir"
            )
    metrics = pick_port(entry.metrics or "", taken)
    entry = replace(entry, metrics=metrics or None)
    arguments = [*entry.arguments(), *limits]
    start = Start("virtmesh.host.main", "virtmesh-device", arguments)
    again = tuple(find_kind(entry.kind).restart_options)
    return Command(entry.name, entry.kind, start, entry.endpoint, metrics, again, entry.watchdog)
