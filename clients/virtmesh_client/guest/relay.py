"""Carrying bytes between a guest and the files of its user: one loop, which ends with the guest."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

NO_FILE = -1
READ_BYTES = 64 << 10
PIECE_BYTES = select.PIPE_BUF
"""What a file that is ready to be written takes without waiting."""
DRAIN_SECONDS = 1.0
"""How long to wait for more of what an ended guest has said, should anybody keep its lines open."""


class Flow:
    """Bytes on their way from one file to another, one read at a time.

    `see` looks at each read, and returns what is passed on. A source of NO_FILE has nothing (yet).
    """

    def __init__(self, source: int, target: int, see: Callable[[bytes], bytes]) -> None:
        self.source = source
        self._target = target
        self._see = see
        self.pending = b""
        """What is to be written before the next read."""

    @property
    def wait(self) -> tuple[int, int] | None:
        """The file that it waits for and for what (poll); None when there is nothing to do."""
        if self.pending:
            return self._target, select.POLLOUT
        return None if self.source == NO_FILE else (self.source, select.POLLIN)

    def step(self, ready: dict[int, int]) -> bool:
        """Read or write once if its file is ready; returns whether it did. Errors: OSError."""
        wait = self.wait
        if wait is None or not ready.get(wait[0], 0) & (wait[1] | select.POLLHUP | select.POLLERR):
            return False
        with contextlib.suppress(BlockingIOError):
            if self.pending:
                self.pending = self.pending[os.write(self._target, self.pending[:PIECE_BYTES]) :]
            else:
                self._take()
        return True

    def _take(self) -> None:
        """Read what is there. A terminal that everybody has closed says EIO."""
        try:
            data = os.read(self.source, READ_BYTES)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            data = b""
        if not data:
            self.source = NO_FILE
        self.pending = self._see(data)


def relay(flows: Sequence[Flow], process: int, seconds: float | None) -> bool:
    """Carry until the process of a pidfd ends; False when the time is over before."""
    deadline = None if seconds is None else time.monotonic() + seconds
    while True:
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            return False
        ready = wait_for(flows, process, left)
        for flow in flows:
            flow.step(ready)
        if process in ready:
            return True


def drain(flows: Sequence[Flow]) -> None:
    """Carry what an ended guest has left, to the end of every source."""
    while any(flow.wait for flow in flows):
        ready = wait_for(flows, NO_FILE, DRAIN_SECONDS)
        if not ready and not any(flow.pending for flow in flows):
            return
        for flow in flows:
            flow.step(ready)


def wait_for(flows: Sequence[Flow], process: int, seconds: float | None) -> dict[int, int]:
    """Return which files are ready (poll): of the flows, and the pidfd of a process."""
    wanted: dict[int, int] = {} if process == NO_FILE else {process: select.POLLIN}
    for flow in flows:
        if flow.wait is not None:
            file, what = flow.wait
            wanted[file] = wanted.get(file, 0) | what
    poll = select.poll()
    for file, what in wanted.items():
        poll.register(file, what)
    return dict(poll.poll(None if seconds is None else seconds * 1000))
