"""Sockets whose locks somebody holds: what a peer can do to a socket that it shares.

The kernel copies into and out of memory with a lock of the socket held. If the memory is a file of
FUSE whose server does not answer, it is held until that file system ends.
"""

from __future__ import annotations

import mmap
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.frozen_fuse import FrozenFuse, frozen_fuse
from tests.support.lingering import LINGER_SECONDS


class HeldLocks:
    """Holds the lock of one socket, by reading or writing memory that does not come."""

    def __init__(self, frozen: FrozenFuse) -> None:
        self._frozen = frozen
        self._descriptor = os.open(frozen.folder / "file", os.O_RDWR)
        self._page = mmap.mmap(self._descriptor, mmap.PAGESIZE, mmap.MAP_PRIVATE)
        self._threads: list[threading.Thread] = []

    def reading(self, shared: socket.socket) -> None:
        """Hold the lock of who reads a unix socket, which has something to read."""
        copy = shared.dup()
        copy.settimeout(None)
        self._start(lambda: copy.recv_into(self._page, 1), copy)

    def writing(self) -> int:
        """Make a TCP socket, and hold its lock."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = socket.create_connection(listener.getsockname())
            peer, _ = listener.accept()
        self._start(lambda: client.sendall(self._page), client, peer)
        return os.dup(client.fileno())

    def end(self) -> None:
        """Wait for the threads, after the end of the file system."""
        for thread in self._threads:
            thread.join()
        with suppress(OSError):
            os.close(self._descriptor)

    def _start(self, hold: Callable[[], object], *sockets: socket.socket) -> None:
        """Start a thread that holds a lock, and wait until it does."""

        def run() -> None:
            with suppress(OSError):
                hold()
            for one in sockets:
                one.close()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        self._threads.append(thread)
        assert self._frozen.read.wait(LINGER_SECONDS)


@contextmanager
def held_locks(folder: Path) -> Iterator[HeldLocks]:
    """Hold locks until the end, or until nobody can wait any longer."""
    folder.mkdir()
    with frozen_fuse(folder) as frozen:
        held = HeldLocks(frozen)
        file = frozen.open_frozen()
        last = threading.Timer(LINGER_SECONDS, frozen.thaw)
        last.start()
        try:
            yield held
        finally:
            last.cancel()
            last.join()
            frozen.thaw()
            held.end()
            with suppress(OSError):
                os.close(file)
