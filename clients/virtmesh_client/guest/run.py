"""Running a guest on this terminal, and ending all of it.

The guest is a process group of its own, since user-mode Linux leaves helpers behind when it is
killed. On a terminal it is the group in the foreground, so what is typed, Ctrl-C too, is its own.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import termios
from typing import TYPE_CHECKING

from virtmesh.errors import GuestError, GuestTimeout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Foreground = Callable[[int], None]

STOP_SECONDS = 5.0
"""How long a guest may take to end after SIGTERM."""


def run_guest(command: Sequence[str], timeout: float | None = None) -> None:
    """Run a guest until it ends. Errors: GuestTimeout after `timeout` seconds; GuestError."""
    with foreground() as give:
        process = subprocess.Popen(command, process_group=0)  # noqa: S603 - ours, or --print's
        handle = os.pidfd_open(process.pid)
        try:
            give(process.pid)
            if not ended(handle, timeout):
                raise GuestTimeout(f"the guest still ran after {timeout:g} s and was stopped")
        finally:
            end_group(process.pid, handle)
            os.close(handle)
            status = process.wait()
    if status:
        raise GuestError(f"the guest ended with status {status}: its last lines say more")


def ended(handle: int, timeout: float | None) -> bool:
    """Wait until the process of a pidfd ends, `timeout` seconds at most."""
    ready, _, _ = select.select([handle], [], [], timeout)
    return bool(ready)


def end_group(leader: int, handle: int) -> None:
    """End a process group whose leader is not waited for yet: until then its id is its own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGTERM)
        # A stopped process takes no SIGTERM.
        os.killpg(leader, signal.SIGCONT)
    ended(handle, STOP_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)
    ended(handle, None)


@contextlib.contextmanager
def foreground() -> Iterator[Foreground]:
    """Lend the terminal, if there is one; it comes back as it was."""
    terminal = 0
    if not os.isatty(terminal):
        yield lambda _group: None
        return
    before = termios.tcgetattr(terminal)
    # In the background, a process that changes the terminal is stopped. The guest inherits this: it
    # may be faster than `give`, and user-mode Linux hangs when it is stopped as it boots.
    ignored = signal.signal(signal.SIGTTOU, signal.SIG_IGN)

    def give(group: int) -> None:
        """Put a group into the foreground; it may have been stopped for reading too early."""
        os.tcsetpgrp(terminal, group)
        os.killpg(group, signal.SIGCONT)

    try:
        yield give
    finally:
        os.tcsetpgrp(terminal, os.getpgrp())
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
        signal.signal(signal.SIGTTOU, ignored)
