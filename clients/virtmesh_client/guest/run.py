"""Running a guest, at a terminal or with a script, and ending all of it.

The guest leads a session on its console (console.py). Its reaper (reaper.py) ends all of it, when
we want it and when we are gone.
"""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from virtmesh_client.guest import reaper
from virtmesh_client.guest.console import Booting, Console, Keys
from virtmesh_client.guest.machines import OUTPUT_FILE, STATUS_FILE
from virtmesh_client.guest.relay import NO_FILE, Flow, drain, relay
from virtmesh_client.local.exit_status import spell_exit
from virtmesh_client.serial.raw_terminal import raw_window, screen_restored
from virtmesh_common.errors import GuestError, GuestTimeout

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Action = tuple[int, int, int] | tuple[int, int, str, int, int]

STATUS_BYTES = 3
"""What an exit status takes in decimal."""
LEASE_FILE = STATUS_FILE + 1
"""File of the reaper, whose other end we hold open for as long as the guest may run."""
KEEPER = (sys.executable, "-I", "-S", reaper.__file__, str(LEASE_FILE))


@dataclass
class Process:
    """A guest that runs: its reaper, which ends when and as it does."""

    pid: int
    handle: int
    """Its pidfd."""
    status: int = 0
    """As of a shell; negative for a signal. Known after its end."""


def run_at_terminal(command: Sequence[str], timeout: float | None = None) -> None:
    """Run a guest on the user's terminal, until it ends.

    While it boots the terminal stays as it is, so Ctrl-C stops it; then the guest has every key.
    Errors: GuestTimeout after `timeout` seconds; GuestError; KeyboardInterrupt.
    """
    source, target = sys.stdin.fileno(), sys.stdout.fileno()
    with contextlib.ExitStack() as window, Console(target) as console:
        screen = window.enter_context(screen_restored(target))
        keys = Flow(NO_FILE, console.master, Keys())

        def take_keys() -> None:
            window.enter_context(raw_window(source))
            keys.source = source

        look = Booting(take_keys)

        def show(data: bytes) -> bytes:
            screen.see(data)
            return look(data)

        process = run(command, console, (), [Flow(console.master, target, show), keys], timeout)
    if process.status:
        raise GuestError(
            f"the guest ended with {spell_exit(process.status)}: its last lines say more"
        )


def run_script(command: Sequence[str], timeout: float | None = None) -> int:
    """Run a guest whose script prints on standard output; returns the script's exit status.

    What the console says goes to standard error: once the guest is up, or when it fails.
    Errors: GuestTimeout after `timeout` seconds; GuestError.
    """
    said = bytearray()
    errors = sys.stderr.fileno()
    with contextlib.ExitStack() as files, Console(errors, plain=True) as console:
        output, printed = pipe(files)
        statuses, status = pipe(files)
        boot = Booting(lambda: None, hold=True)

        def keep(data: bytes) -> bytes:
            said.extend(data[: STATUS_BYTES - len(said)])
            return b""

        flows = [
            Flow(console.master, errors, boot),
            Flow(output, sys.stdout.fileno(), bytes),
            Flow(statuses, NO_FILE, keep),
        ]
        try:
            run(command, console, (printed, status), flows, timeout)
        finally:
            os.write(errors, boot.held)
    if not boot.up:
        raise GuestError("the guest did not boot: what it said of it is above, if anything")
    if not said.strip().isdigit():
        raise GuestError(
            "the guest ended before its script did: let the script end, the guest does too then"
        )
    return int(said)


def pipe(files: contextlib.ExitStack) -> tuple[int, int]:
    """Return a new pipe's ends, the second of which `run` closes."""
    ends = os.pipe()
    files.callback(os.close, ends[0])
    return ends


def run(
    command: Sequence[str],
    console: Console,
    lines: Sequence[int],
    flows: Sequence[Flow],
    timeout: float | None,
) -> Process:
    """Run a guest until it ends, and carry its flows. Errors: GuestTimeout."""
    with started(command, console, lines) as process:
        in_time = relay(flows, process.handle, timeout)
    if not in_time:
        raise GuestTimeout(f"the guest still ran after {timeout:g} s and was stopped")
    drain(flows)
    return process


@contextlib.contextmanager
def started(command: Sequence[str], console: Console, lines: Sequence[int]) -> Iterator[Process]:
    """Start a guest, its further lines from OUTPUT_FILE on; it is ended with the body."""
    lease, held = os.pipe()
    # A file never has the number of one before it: the console took two files already.
    actions: list[Action] = [
        (os.POSIX_SPAWN_DUP2, file, number) for number, file in enumerate(lines, OUTPUT_FILE)
    ]
    actions.append((os.POSIX_SPAWN_DUP2, lease, LEASE_FILE))
    actions.append((os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDWR, 0))
    arguments = [*KEEPER, console.path, *command]
    try:
        pid = os.posix_spawn(arguments[0], arguments, os.environ, file_actions=actions, setsid=True)
    finally:
        for file in (lease, *lines):
            os.close(file)
    process = Process(pid, os.pidfd_open(pid))
    try:
        yield process
    finally:
        os.close(held)
        process.status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os.close(process.handle)
        console.close_slave()
