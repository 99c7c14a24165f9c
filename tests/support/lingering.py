"""Descriptors whose close waits for somebody else: what a hostile peer hands over."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress

LINGER_SECONDS = 60
"""How long a close waits. Nobody who serves others may wait that long."""
SOON = 30.0
"""Generous for whatever does not wait for a close, in seconds: on a loaded host too."""


class Lingering:
    """TCP sockets with unsent data, whose close waits for a peer that does not read."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._peers: list[socket.socket] = []

    def make(self) -> int:
        """Make one. Whoever closes it last waits."""
        client = socket.create_connection(self._listener.getsockname())
        peer, _ = self._listener.accept()
        self._peers.append(peer)
        client.settimeout(0)
        with suppress(BlockingIOError):
            while True:
                client.send(bytes(1 << 20))
        client.settimeout(None)
        linger = struct.pack("ii", 1, LINGER_SECONDS)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        return client.detach()

    def nested(self) -> int:
        """Make a unix socket with such a socket in its queue: its close closes that one."""
        ours, theirs = socket.socketpair()
        lingering = self.make()
        socket.send_fds(theirs, [b"x"], [lingering])
        os.close(lingering)
        theirs.close()
        return ours.detach()

    def close(self) -> None:
        """Let every close go on."""
        for peer in self._peers:
            # A reset ends the wait of the other side.
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.close()
        self._listener.close()


@contextmanager
def lingering_sockets() -> Iterator[Lingering]:
    """Give a maker of such sockets; at the end no close waits any more."""
    lingering = Lingering()
    try:
        yield lingering
    finally:
        lingering.close()
