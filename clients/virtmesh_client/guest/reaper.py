"""Runs a guest, and ends all of it when its runner is gone: `reaper.py LEASE CONSOLE COMMAND...`.

A runner can be killed. User-mode Linux does not end with its console, and SIGTERM may hang it while
the console is hung up: somebody has to be there who waits, and kills. LEASE is a pipe whose other
end the runner holds open for as long as the guest may run. CONSOLE is the terminal that the guest
leads a session on; further files are those of the reaper. The exit status is the guest's.

It is a program of its own, and imports next to nothing: it takes no time worth speaking of.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from contextlib import suppress

STOP_SECONDS = 5.0
"""How long a guest may take to end after SIGTERM."""
NOT_MINE = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)
"""Signals that would end the reaper before its guest."""
RESET = (*NOT_MINE, signal.SIGPIPE, signal.SIGXFSZ)
"""What Python, nohup or a shell may have had ignored."""


def ended(handle: int, seconds: float | None) -> bool:
    """Wait until the process of a pidfd ends, so many seconds at most."""
    ready, _, _ = select.select([handle], [], [], seconds)
    return bool(ready)


def end_group(leader: int, handle: int) -> None:
    """End a process group whose leader is not waited for yet: until then its id is its own.

    User-mode Linux leaves helpers behind when it is killed.
    """
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGTERM)
        # A stopped process takes no SIGTERM.
        os.killpg(leader, signal.SIGCONT)
    ended(handle, STOP_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)
    ended(handle, None)


def keep(lease: int, console: str, command: list[str]) -> int:
    """Run a guest; returns how it ended: negative for a signal."""
    for number in NOT_MINE:
        signal.signal(number, signal.SIG_IGN)
    os.set_inheritable(lease, False)  # noqa: FBT003 - as os has it
    guest = os.posix_spawnp(
        command[0],
        command,
        os.environ,
        # The first terminal that the leader of a session opens is its controlling one.
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, console, os.O_RDWR, 0),
            (os.POSIX_SPAWN_DUP2, 0, 1),
            (os.POSIX_SPAWN_DUP2, 0, 2),
        ],
        setsid=True,
        setsigdef=RESET,
    )
    handle = os.pidfd_open(guest)
    select.select([handle, lease], [], [])
    end_group(guest, handle)
    return os.waitstatus_to_exitcode(os.waitpid(guest, 0)[1])


def main() -> None:
    """Keep a guest, and end as it did."""
    status = keep(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)


if __name__ == "__main__":
    main()
