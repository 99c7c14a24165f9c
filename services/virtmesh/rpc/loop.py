"""The event loop of a service: uvloop, with a mend for the way in which gRPC wakes it.

A thread of gRPC puts each event on a queue and writes a byte to a socket; the loop's reader reads
one byte and takes the whole queue (grpcio 1.85, completion_queue.pyx.pxi). Under load many events
come in one pass of the loop, the bytes pile up until the socket is full, and then the thread waits
for the loop before each event: every call of every client takes seconds. So all bytes but one are
read before gRPC's reader runs. An event is on the queue before its byte is written: none is missed.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import uvloop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")
GRPC = "PollerCompletionQueue"
"""The class of gRPC's reader."""
_COUNT = struct.Struct("i")


class Loop(uvloop.Loop):
    """uvloop's loop, on which gRPC's wake-ups never pile up."""

    def add_reader(  # type: ignore[override]  # types of arguments that go through
        self, fd: Any, callback: Callable[..., Any], *args: Any
    ) -> None:
        """Watch a descriptor; before gRPC's reader runs, read all of its wake-ups but one."""
        if isinstance(fd, socket.socket) and is_reader_of_grpc(callback):
            callback = draining(fd, callback)
        super().add_reader(fd, callback, *args)


def is_reader_of_grpc(callback: Callable[..., Any]) -> bool:
    """Say whether a reader is a method of gRPC's queue, or one with arguments."""
    method = callback.func if isinstance(callback, partial) else callback
    return type(getattr(method, "__self__", None)).__name__ == GRPC


def draining(wakeups: socket.socket, callback: Callable[..., Any]) -> Callable[..., Any]:
    """Return a reader that leaves one byte to `callback`, which reads it."""
    count = bytearray(_COUNT.size)

    def read(*args: Any) -> None:
        fcntl.ioctl(wakeups, termios.FIONREAD, count)
        waiting: int = _COUNT.unpack(count)[0]
        if waiting > 1:
            wakeups.recv(waiting - 1)
        callback(*args)

    return read


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a service."""
    return uvloop.run(main, loop_factory=Loop)
