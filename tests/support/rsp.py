"""A small debugger: the client's side of GDB's remote serial protocol."""

from __future__ import annotations

import socket
from typing import Self

SECONDS = 20.0


class RspClient:
    """Sends packets and waits for their answers, in a `with`."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=SECONDS)
        # As gdb does: an acknowledgement must not hold up the packet behind it.
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.socket.close()

    def ask(self, text: str) -> str:
        """Send a packet and return its answer."""
        self.send(text)
        return self.receive()

    def send(self, text: str) -> None:
        """Send a packet."""
        body = text.encode()
        self.socket.sendall(b"$" + body + b"#" + b"%02x" % (sum(body) & 0xFF))

    def interrupt(self) -> None:
        """Send Ctrl-C."""
        self.socket.sendall(b"\x03")

    def receive(self) -> str:
        """Return the next packet. Errors: TimeoutError; ConnectionError at the end."""
        while True:
            begin = self._buffer.find(b"$")
            end = self._buffer.find(b"#", begin)
            if begin >= 0 and 0 <= end <= len(self._buffer) - 3:
                body = self._buffer[begin + 1 : end]
                self._buffer = self._buffer[end + 3 :]
                self.socket.sendall(b"+")
                return body.decode()
            data = self.socket.recv(65536)
            if not data:
                raise ConnectionError("the stub hung up")
            self._buffer += data
