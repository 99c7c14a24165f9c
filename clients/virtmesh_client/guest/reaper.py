"""Runs a guest, and ends all of it when its runner ends: `reaper.py LEASE CONSOLE COMMAND...`.

A runner can be killed, but user-mode Linux does not end with its console, and SIGTERM may hang it
when its console is gone. So this separate process waits for the runner's end and kills the guest.
LEASE is the descriptor of a pipe; the runner holds its other end open as long as the guest may run.
CONSOLE is the controlling terminal of the guest. The guest inherits the other descriptors of the
reaper. The exit status is that of the guest.

This program imports very little, so that it starts quickly.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from contextlib import suppress

STOP_SECONDS = 5.0
"""How long a guest may take to end after SIGTERM, before SIGKILL."""
IGNORED_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)
"""Signals that the reaper ignores, since it must not end before its guest."""
DEFAULT_SIGNALS = (*IGNORED_SIGNALS, signal.SIGPIPE, signal.SIGXFSZ)
"""Signals whose default action the guest gets back. Python, nohup or a shell may ignore them."""


def ended(handle: int, seconds: float | None) -> bool:
    """Wait until the process of a pidfd ends. Returns False after `seconds`."""
    ready, _, _ = select.select([handle], [], [], seconds)
    return bool(ready)


def end_group(leader: int, handle: int) -> None:
    """End a process group: user-mode Linux leaves helper processes behind when it is killed.

    The caller has not waited for the leader yet, so no other group can have its id.
    """
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGTERM)
        # A stopped process does not handle SIGTERM.
        os.killpg(leader, signal.SIGCONT)
    ended(handle, STOP_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)
    ended(handle, None)


def run_guest(lease: int, console: str, command: list[str]) -> int:
    """Run a guest. Returns its exit status, or the negative number of the signal that ended it."""
    for number in IGNORED_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    os.set_inheritable(lease, False)  # noqa: FBT003 - as os has it
    guest = os.posix_spawnp(
        command[0],
        command,
        os.environ,
        # The first terminal that a session leader opens becomes its controlling terminal.
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, console, os.O_RDWR, 0),
            (os.POSIX_SPAWN_DUP2, 0, 1),
            (os.POSIX_SPAWN_DUP2, 0, 2),
        ],
        setsid=True,
        setsigdef=DEFAULT_SIGNALS,
    )
    handle = os.pidfd_open(guest)
    select.select([handle, lease], [], [])
    end_group(guest, handle)
    return os.waitstatus_to_exitcode(os.waitpid(guest, 0)[1])


def main() -> None:
    """Run a guest, and end with its exit status or its signal."""
    status = run_guest(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
    if status < 0:
        with suppress(OSError):  # SIGKILL has no other action
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)


if __name__ == "__main__":
    main()
