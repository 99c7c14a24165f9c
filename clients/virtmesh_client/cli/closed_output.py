"""Standard output of a stream: that its reader has gone is noticed between two lines too.

A write to a pipe that nobody reads fails, but a still screen has nothing to write.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import stat
import sys
import threading
from typing import TYPE_CHECKING

from virtmesh_client.cli.output import NAME

if TYPE_CHECKING:
    from collections.abc import Iterator

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def ending_when_closed() -> Iterator[None]:
    """End the body, as a signal would, when nobody reads standard output any more.

    That is seen for pipes and sockets, on Linux. Errors: BrokenPipeError.
    """
    # Of these signals, a caller such as nohup may have had one ignored.
    numbers = [one for one in SIGNALS if callable(signal.getsignal(one))]
    if not numbers or not is_pipe():
        yield
        return
    watcher = Watcher(sys.stdout.fileno(), numbers[0])
    try:
        with watcher:
            yield
    except KeyboardInterrupt:
        if not watcher.closed:
            raise
    if watcher.closed:
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE), NAME)


def is_pipe() -> bool:
    """Return whether standard output is something that can be watched."""
    try:
        mode = os.fstat(sys.stdout.fileno()).st_mode
    except (OSError, ValueError):  # it is no file of the system, as in a test
        return False
    return sys.platform == "linux" and (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode))


class Watcher:
    """Watches a descriptor on a thread, and sends this process a signal at its end."""

    def __init__(self, descriptor: int, number: signal.Signals) -> None:
        self.closed = False
        """True when the other side has gone."""
        self._descriptor = descriptor
        self._number = number
        self._ending, self._wake = os.pipe()
        self._thread = threading.Thread(target=self._run, name="virtmesh-output", daemon=True)

    def __enter__(self) -> None:
        """Begin."""
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        """End; after this there is no signal."""
        os.close(self._wake)
        self._thread.join()
        os.close(self._ending)

    def _run(self) -> None:
        """Wait for the end of the reader or of the body."""
        poll = select.poll()
        poll.register(self._descriptor, 0)  # errors and hang-ups alone
        poll.register(self._ending, 0)
        ready = dict(poll.poll())
        if self._descriptor in ready and self._ending not in ready:
            self.closed = True
            os.kill(os.getpid(), self._number)
