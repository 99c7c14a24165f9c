"""A TCP relay in front of a service, which can cut every connection, and refuse new ones."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable

PIECE = 64 << 10
NO_WAIT = b"\1\0\0\0\0\0\0\0"
"""SO_LINGER on, 0 s: closing resets the connection, as when a process is killed."""


class CutRelay:
    """Relays connections to a unix socket, from `with` on. `address` stays the same."""

    def __init__(self, target: str) -> None:
        self._target = target.removeprefix("unix:")
        self._listener: socket.socket | None = None
        self._pairs: list[socket.socket] = []
        self._lock = threading.Lock()
        self._port = 0
        self.connections = 0
        """How many there have been."""
        self.withheld = threading.Event()
        """Set when something was withheld."""
        self._withholds = False
        self._after: tuple[int, Callable[[], None]] | None = None

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *exc: object) -> None:
        self.cut()

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self._port}"

    def open(self) -> None:
        """Take connections, at the same port as before."""
        self._withholds = False
        self._listener = socket.create_server(("127.0.0.1", self._port), reuse_port=False)
        self._port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        """Reset every connection, and take none."""
        if self._listener is not None:
            # A thread in accept() keeps a listener alive that is only closed.
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for one in pairs:
            with contextlib.suppress(OSError):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_WAIT)
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def withhold(self) -> None:
        """Keep back what the service says from now on; requests pass."""
        self._withholds = True

    def after(self, size: int, act: Callable[[], None]) -> None:
        """Call `act` on another thread once so many bytes were sent to the service from now on."""
        self._after = (size, act)

    def _accept(self, listener: socket.socket) -> None:
        """Take connections until the listener is closed."""
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX)
            far.connect(self._target)
            with self._lock:
                self._pairs += [near, far]
            self.connections += 1
            for source, sink, is_answer in ((near, far, False), (far, near, True)):
                threading.Thread(
                    target=self._relay, args=(source, sink, is_answer), daemon=True
                ).start()

    def _relay(self, source: socket.socket, sink: socket.socket, is_answer: bool) -> None:  # noqa: FBT001 - a thread's argument
        """Relay one direction until it ends."""
        with contextlib.suppress(OSError):
            while data := source.recv(PIECE):
                if is_answer and self._withholds:
                    self.withheld.set()
                    continue
                sink.sendall(data)
                if not is_answer:
                    self._count(len(data))
            sink.shutdown(socket.SHUT_WR)

    def _count(self, size: int) -> None:
        """Count what was sent to the service."""
        with self._lock:
            if self._after is None:
                return
            left, act = self._after[0] - size, self._after[1]
            self._after = (left, act) if left > 0 else None
        if left <= 0:
            threading.Thread(target=act, daemon=True).start()
