"""Reads the answers of a vhost-user front end to requests of the back end, on a thread.

The front end has the open file of the socket too. Who reads a unix socket holds a lock of it while
the data is copied, so a front end that reads it into memory that does not come (FUSE, userfaultfd)
keeps every other reader waiting, in the kernel and whatever its flags. So nobody waits for this
thread, and it reads only answers that are awaited.
"""

from __future__ import annotations

import os
import select
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from virtmesh.rpc.strangers import close_all, receive
from virtmesh.vhost_user.messages import HEADER, U64
from virtmesh_common.errors import FrontEndViolation

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

ANSWER_BYTES = HEADER.size + U64.LAYOUT.size
READERS_MAX = 16
"""Most threads, with those that wait for front ends that have gone."""


class AnswerReader:
    """Reads answers from a duplicate of a socket. `got` gets each on the loop; b"" at the end."""

    _room = threading.BoundedSemaphore(READERS_MAX)

    def __init__(
        self, descriptor: int, got: Callable[[bytes], None], loop: asyncio.AbstractEventLoop
    ) -> None:
        """Start a thread. Errors: FrontEndViolation if too many wait; OSError."""
        if not self._room.acquire(blocking=False):
            raise FrontEndViolation(
                f"{READERS_MAX} threads wait for front ends that keep their own sockets from being"
                " read"
            )
        try:
            self._awaits, orders = socket.socketpair()
            self._awaits.setblocking(False)  # noqa: FBT003 - as socket has it
            copy = os.dup(descriptor)
            channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, fileno=copy)
            thread = threading.Thread(
                target=self._run, args=(channel, orders, got, loop), name="answers", daemon=True
            )
            thread.start()
        except BaseException:
            self._room.release()
            raise

    def expect(self) -> None:
        """Read one answer more."""
        self._awaits.send(b"\0")  # There are few rings: it never finds the buffer full.

    def close(self) -> None:
        """Stop, without waiting for the thread."""
        self._awaits.close()

    def _run(
        self,
        channel: socket.socket,
        orders: socket.socket,
        got: Callable[[bytes], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """Read what is awaited, until the end."""
        try:
            while orders.recv(1):
                data = read_answer(channel, orders)
                with suppress(RuntimeError):  # The loop is closed.
                    loop.call_soon_threadsafe(got, data)
                if not data:
                    return
        finally:
            orders.close()
            close_all([channel.detach()])
            self._room.release()


def read_answer(channel: socket.socket, orders: socket.socket) -> bytes:
    """Wait for an answer. Empty at the end of the channel, or when nobody gives orders any more."""
    poll = select.poll()
    poll.register(channel, select.POLLIN)
    poll.register(orders, select.POLLRDHUP)
    data = b""
    while len(data) < ANSWER_BYTES:
        ready = dict(poll.poll())
        if orders.fileno() in ready:
            return b""
        try:
            piece, _ = receive(channel, ANSWER_BYTES - len(data))
        except BlockingIOError:
            continue
        except OSError:
            piece = b""
        if not piece:
            return b""
        data += piece
    return data
