"""A real HTTP proxy on loopback: it connects to anywhere (CONNECT, RFC 9110, 9.3.6), and counts.

with ConnectProxy() as proxy:
environment["http_proxy"] = proxy.url
assert proxy.targets == []
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Self

CHUNK = 64 << 10


class ConnectProxy:
    """The proxy. With `refuse`, it answers every request with that status."""

    def __init__(self, refuse: int = 0) -> None:
        self.targets: list[str] = []
        """What it was asked to connect to, in order."""
        self._refuse = refuse
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        """What a variable of the environment says of it."""
        self._sockets: list[socket.socket] = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        """Serve each connection on a thread."""
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._sockets.append(client)
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        """Take one request, and carry bytes both ways."""
        with suppress(OSError):
            request = b""
            while not request.endswith(b"\r\n\r\n"):
                request += client.recv(1)
            target = request.split()[1].decode()
            self.targets.append(target)
            if self._refuse:
                client.sendall(f"HTTP/1.1 {self._refuse} No\r\n\r\n".encode())
                client.close()
                return
            host, _, port = target.rpartition(":")
            server = socket.create_connection((host.strip("[]"), int(port)))
            self._sockets.append(server)
            client.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
            threading.Thread(target=_carry, args=(server, client), daemon=True).start()
            _carry(client, server)


def _carry(source: socket.socket, target: socket.socket) -> None:
    """Carry bytes until one side ends."""
    with suppress(OSError):
        while data := source.recv(CHUNK):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
