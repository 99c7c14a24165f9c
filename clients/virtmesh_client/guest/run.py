"""Run a guest, on a terminal or with a script, and end all of its processes.

The guest is the session leader on its console (console.py). Its reaper (reaper.py) ends all its
processes, on request and when this process ends.
"""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from virtmesh_client.guest import reaper
from virtmesh_client.guest.command_lines import OUTPUT_FILE, STATUS_FILE
from virtmesh_client.guest.console import (
    BootDetector,
    GuestConsole,
    LineEnds,
    StopKeyDetector,
)
from virtmesh_client.guest.relay import NO_FILE, Relay, drain_relays, run_relays
from virtmesh_client.local.exit_status import spell_exit
from virtmesh_client.serial.raw_terminal import raw_output, raw_terminal, terminal_restored
from virtmesh_common.errors import GuestError, GuestTimeout

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Action = tuple[int, int, int] | tuple[int, int, str, int, int]

STATUS_BYTES = 3
"""Most digits of an exit status in decimal."""
LEASE_FILE = STATUS_FILE + 1
"""Descriptor of the reaper. This process holds its other end open while the guest may run."""
REAPER_COMMAND = (sys.executable, "-I", "-S", reaper.__file__, str(LEASE_FILE))


@dataclass
class GuestProcess:
    """A running guest, as the process of its reaper, which ends with the status of the guest."""

    pid: int
    handle: int
    """pidfd of the process."""
    status: int = 0
    """Exit status, or the negative number of a signal. It is set when the process has ended."""


def run_at_terminal(command: Sequence[str], timeout: float | None = None) -> None:
    """Run a guest on the user's terminal until it ends.

    While the guest boots, the terminal is not in raw mode, so Ctrl-C stops the guest. After that
    the guest gets every key. Errors: GuestTimeout after `timeout` seconds; GuestError if the guest
    fails; KeyboardInterrupt.
    """
    source, target = sys.stdin.fileno(), sys.stdout.fileno()
    with contextlib.ExitStack() as window, GuestConsole(target) as console:
        screen = window.enter_context(terminal_restored(target))
        window.enter_context(raw_output(target))
        keys = Relay(NO_FILE, console.master, StopKeyDetector())

        def take_keys() -> None:
            window.enter_context(raw_terminal(source))
            keys.source = source

        look, mend = BootDetector(take_keys), LineEnds()

        def show(data: bytes) -> bytes:
            screen.see(data)
            return mend(look(data))

        process = run(command, console, (), [Relay(console.master, target, show), keys], timeout)
    if process.status:
        raise GuestError(
            f"the guest ended with {spell_exit(process.status)}: its last output above tells why"
        )


def run_script(command: Sequence[str], timeout: float | None = None) -> int:
    """Run a guest with a script, whose output goes to standard output. Returns its exit status.

    The console goes to standard error: after the guest has booted, or if it fails.
    Errors: GuestTimeout after `timeout` seconds; GuestError if the guest does not boot, or ends
    before its script.
    """
    said = bytearray()
    errors = sys.stderr.fileno()
    with contextlib.ExitStack() as files, GuestConsole(errors) as console:
        output, printed = pipe(files)
        statuses, status = pipe(files)
        boot = BootDetector(lambda: None, hold=True)

        def keep(data: bytes) -> bytes:
            said.extend(data[: STATUS_BYTES - len(said)])
            return b""

        relays = [
            Relay(console.master, errors, boot),
            Relay(output, sys.stdout.fileno(), bytes),
            Relay(statuses, NO_FILE, keep),
        ]
        try:
            run(command, console, (printed, status), relays, timeout)
        finally:
            os.write(errors, boot.held)
    if not boot.up:
        raise GuestError("the guest did not boot: its output, if any, is above")
    if not said.strip().isdigit():
        raise GuestError(
            "the guest ended before its script: do not power off in the script, the guest ends"
            " after it"
        )
    return int(said)


def pipe(files: contextlib.ExitStack) -> tuple[int, int]:
    """Return both ends of a new pipe. `run` closes the second one."""
    ends = os.pipe()
    files.callback(os.close, ends[0])
    return ends


def run(
    command: Sequence[str],
    console: GuestConsole,
    lines: Sequence[int],
    relays: Sequence[Relay],
    timeout: float | None,
) -> GuestProcess:
    """Run a guest and its relays until it ends. Errors: GuestTimeout."""
    with started(command, console, lines) as process:
        in_time = run_relays(relays, process.handle, timeout)
    console.close_slave()
    if not in_time:
        raise GuestTimeout(
            f"the guest still ran after {timeout:g} s and was stopped: allow more with --timeout"
        )
    drain_relays(relays)
    return process


@contextlib.contextmanager
def started(
    command: Sequence[str], console: GuestConsole, lines: Sequence[int]
) -> Iterator[GuestProcess]:
    """Start a guest, with `lines` as its descriptors from OUTPUT_FILE on; end it after the body."""
    lease, held = os.pipe()
    # A descriptor of `lines` is never overwritten early: the console has two smaller ones already.
    actions: list[Action] = [
        (os.POSIX_SPAWN_DUP2, file, number) for number, file in enumerate(lines, OUTPUT_FILE)
    ]
    actions.append((os.POSIX_SPAWN_DUP2, lease, LEASE_FILE))
    actions.append((os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDWR, 0))
    arguments = [*REAPER_COMMAND, console.path, *command]
    try:
        pid = os.posix_spawn(arguments[0], arguments, os.environ, file_actions=actions, setsid=True)
    finally:
        for file in (lease, *lines):
            os.close(file)
    process = GuestProcess(pid, os.pidfd_open(pid))
    try:
        yield process
    finally:
        os.close(held)
        process.status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os.close(process.handle)


def child_of(pid: int) -> int:
    """Return the process ID of a child of a process, such as the guest of a reaper; 0 without one.

    A child that has ended does not count.
    """
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                # The name, field 2, may contain any character. The state follows its end.
                stat = (entry / "stat").read_text(encoding="ascii", errors="replace")
                state, parent = stat.rpartition(")")[2].split()[:2]
                if int(parent) == pid and state not in {"Z", "X"}:
                    return int(entry.name)
    return 0
