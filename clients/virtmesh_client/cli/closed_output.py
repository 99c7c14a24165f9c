"""Standard output of a stream: that its reader has gone is noticed between two lines too.

A write to a pipe that nobody reads fails, but a still screen has nothing to write.
"""

from __future__ import annotations

import contextlib
import os
import select
import stat
import sys
import threading
from typing import TYPE_CHECKING

from virtmesh_client.cli.errors import CLOSED

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def ending_when_closed() -> Iterator[None]:
    """End this process, with status 141, when nobody reads standard output any more.

    That is seen for pipes and sockets, on Linux. It ends as SIGPIPE ends others, at once: this is
    for bodies that have nothing to tidy up. An exception in the main thread would do it later: one
    that comes while a call of gRPC begins can leave a lock of that taken.
    """
    if not is_pipe():
        yield
        return
    ending, wake = os.pipe()
    watcher = threading.Thread(
        target=watch, args=(sys.stdout.fileno(), ending), name="virtmesh-output", daemon=True
    )
    watcher.start()
    try:
        yield
    finally:
        os.close(wake)
        watcher.join()
        os.close(ending)


def is_pipe() -> bool:
    """Return whether standard output is something that can be watched."""
    try:
        mode = os.fstat(sys.stdout.fileno()).st_mode
    except (OSError, ValueError):  # it is no file of the system, as in a test
        return False
    return sys.platform == "linux" and (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode))


def watch(output: int, ending: int) -> None:
    """Wait for the end of a reader, which ends the process, or of the other pipe."""
    poll = select.poll()
    for one in (output, ending):
        poll.register(one, 0)  # errors and hang-ups alone
    if ending not in dict(poll.poll()):
        os._exit(CLOSED)
