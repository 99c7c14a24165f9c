"""Copies bytes between a guest and the files of its user, in one loop that ends with the guest."""

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
"""A file that poll reports as writable takes at least so many bytes without blocking."""
DRAIN_SECONDS = 1.0
"""How long to wait for more output of an ended guest, if a process keeps its lines open."""


class Relay:
    """Copies bytes from one file to another, one read at a time.

    `transform` gets the bytes of each read and returns what is written. A source of NO_FILE has no
    bytes (yet).
    """

    def __init__(self, source: int, target: int, transform: Callable[[bytes], bytes]) -> None:
        self.source = source
        self._target = target
        self._transform = transform
        self.pending = b""
        """Bytes to write before the next read."""

    @property
    def wait(self) -> tuple[int, int] | None:
        """The file to wait for, and its poll events; None if there is nothing to do."""
        if self.pending:
            return self._target, select.POLLOUT
        return None if self.source == NO_FILE else (self.source, select.POLLIN)

    def step(self, ready: dict[int, int]) -> bool:
        """Read or write once if the file is ready. Returns whether it was. Errors: OSError."""
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
        """Read available bytes. A pseudo-terminal whose slave is closed reports EIO at its end."""
        try:
            data = os.read(self.source, READ_BYTES)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            data = b""
        if not data:
            self.source = NO_FILE
        self.pending = self._transform(data)


def run_relays(relays: Sequence[Relay], process: int, seconds: float | None) -> bool:
    """Copy until the process of a pidfd ends. Returns False after `seconds`."""
    deadline = None if seconds is None else time.monotonic() + seconds
    while True:
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            return False
        ready = wait_for(relays, process, left)
        for relay in relays:
            relay.step(ready)
        if process in ready:
            return True


def drain_relays(relays: Sequence[Relay]) -> None:
    """Copy the rest of the output of a guest that has ended, to the end of every source."""
    while any(relay.wait for relay in relays):
        ready = wait_for(relays, NO_FILE, DRAIN_SECONDS)
        if not ready and not any(relay.pending for relay in relays):
            return
        for relay in relays:
            relay.step(ready)


def wait_for(relays: Sequence[Relay], process: int, seconds: float | None) -> dict[int, int]:
    """Return which files are ready (poll): of the relays, and the pidfd of a process."""
    wanted: dict[int, int] = {} if process == NO_FILE else {process: select.POLLIN}
    for relay in relays:
        if relay.wait is not None:
            file, what = relay.wait
            wanted[file] = wanted.get(file, 0) | what
    poll = select.poll()
    for file, what in wanted.items():
        poll.register(file, what)
    return dict(poll.poll(None if seconds is None else seconds * 1000))
