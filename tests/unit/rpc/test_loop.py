"""gRPC's wake-ups never pile up on the event loop of a service."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import grpc.aio

from virtmesh.rpc import loop

if TYPE_CHECKING:
    from collections.abc import Callable


class PollerCompletionQueue:
    """Reads as gRPC's queue does: one byte for each pass."""

    def __init__(self, wakeups: socket.socket) -> None:
        self.wakeups = wakeups
        self.passes = 0
        self.read = asyncio.Event()

    def handle(self) -> None:
        """Take one byte, and all events."""
        self.wakeups.recv(1)
        self.passes += 1
        self.read.set()


def test_many_wake_ups_are_read_at_once() -> None:
    """A thread that wakes the loop never finds the socket full."""

    async def wake() -> tuple[int, bytes]:
        reading, writing = socket.socketpair()
        with reading, writing:
            reading.setblocking(False)  # noqa: FBT003 - as socket has it
            queue = PollerCompletionQueue(reading)
            asyncio.get_running_loop().add_reader(reading, queue.handle)
            writing.send(bytes(1000))
            await queue.read.wait()
            asyncio.get_running_loop().remove_reader(reading)
            writing.send(b"x")
            return queue.passes, reading.recv(8)

    assert loop.run(wake()) == (1, b"x")


def test_the_reader_of_this_grpc_is_known() -> None:
    """Another version of gRPC that names or calls it otherwise is noticed here."""
    known = []

    class Watched(loop.Loop):
        def add_reader(  # type: ignore[override]  # as loop.Loop
            self, fd: Any, callback: Callable[..., Any], *args: Any
        ) -> None:
            known.append(loop.is_reader_of_grpc(callback))
            super().add_reader(fd, callback, *args)

    async def serve() -> None:
        server = grpc.aio.server()
        await server.start()
        await server.stop(None)

    made = Watched()
    made.run_until_complete(serve())
    made.close()

    assert True in known
