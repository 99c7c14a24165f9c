"""Calls that send most of the largest message and never the rest, by HTTP/2 as it is on the wire.

Frames are those of RFC 9113 (section 4.1); header fields are literals without indexing (RFC 7541,
section 6.2.2). Windows are kept, so that the server takes all that it lets in.
"""

from __future__ import annotations

import socket
import ssl
import struct
from time import monotonic
from typing import TYPE_CHECKING, Self

from virtmesh_common.channel import MESSAGE_LIMIT_BYTES
from virtmesh_common.request_id import REQUEST_ID_KEY

if TYPE_CHECKING:
    from collections.abc import Sequence

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_HEADERS = 4
ACK = 1
INITIAL_WINDOW_SIZE = 4
WINDOW = 65535
FRAME_MAX = 16384
MISSING = 100
"""Bytes of each message that never come."""
QUIET_S = 0.2
"""Nothing more is let in after so long without a word."""
PUSH_S = 1.0
"""Whoever waits is let in by and by: no more is sent after so long."""


class HalfMessages:
    """One connection with many such calls of one method. Each has the `metadata`, and a `name`."""

    def __init__(
        self,
        connection: socket.socket,
        path: str,
        metadata: Sequence[tuple[str, str]] = (),
        name: str = "",
    ) -> None:
        self._connection = connection
        self._name = name
        fields = (
            *((":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "x")),
            *(("te", "trailers"), ("content-type", "application/grpc"), *metadata),
        )
        self._headers = b"".join(map(literal, fields))
        self._initial = WINDOW
        self._window = WINDOW
        self._windows: dict[int, int] = {}
        self._left: dict[int, int] = {}
        """What each call may still send."""
        self._input = b""
        self._next = 1
        self.sent = 0
        """Bytes of messages that were let in."""
        self.ended = 0
        """Calls that the server ended."""
        self._send(PREFACE + frame(SETTINGS))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._connection.close()

    def begin(self, count: int) -> None:
        """Begin so many calls, and send all that the server lets in."""
        self._take(QUIET_S)
        for number in range(self._next, self._next + 2 * count, 2):
            self._windows[number] = self._initial
            self._left[number] = MESSAGE_LIMIT_BYTES - MISSING
            head = b"\0" + struct.pack(">I", MESSAGE_LIMIT_BYTES)
            named = literal((REQUEST_ID_KEY, f"{self._name}{number}")) if self._name else b""
            self._send(frame(HEADERS, self._headers + named, number, END_HEADERS))
            self._data(number, head)
        self._next += 2 * count
        self.push()

    def push(self) -> None:
        """Send until nothing more is let in, or for PUSH_S."""
        moves, end = True, monotonic() + PUSH_S
        while moves and monotonic() < end:
            moves = False
            for number in list(self._left):
                while (size := self._room(number)) > 0:
                    self._left[number] -= size
                    self._data(number, b"x" * size)
                    self.sent += size
                    moves = True
                self._take(0)
            moves = self._take(0 if moves else QUIET_S) or moves

    def _room(self, number: int) -> int:
        """Return how much a call may send now."""
        if number not in self._left:
            return 0
        return min(self._left[number], self._windows[number], self._window, FRAME_MAX)

    def _data(self, number: int, data: bytes) -> None:
        """Send data of a call."""
        self._windows[number] -= len(data)
        self._window -= len(data)
        self._send(frame(DATA, data, number))

    def _send(self, data: bytes) -> None:
        """Send bytes. A server that does not take them for long fails the test."""
        self._connection.settimeout(60)
        self._connection.sendall(data)

    def _take(self, seconds: float) -> bool:
        """Take what the server sends, if something comes in time. Errors: EOFError."""
        self._connection.settimeout(seconds)
        try:
            data = self._connection.recv(1 << 16)
        except (TimeoutError, BlockingIOError, ssl.SSLWantReadError):
            return False
        if not data:
            raise EOFError("the server closed the connection")
        self._input += data
        while len(self._input) >= 9:
            length = int.from_bytes(self._input[:3])
            if len(self._input) < 9 + length:
                break
            kind, flags = self._input[3:5]
            number = int.from_bytes(self._input[5:9])
            body, self._input = self._input[9 : 9 + length], self._input[9 + length :]
            self._obey(kind, flags, number, body)
        return True

    def _obey(self, kind: int, flags: int, number: int, body: bytes) -> None:
        """Do what a frame says. Errors: EOFError."""
        if kind == SETTINGS and not flags & ACK:
            for key, value in struct.iter_unpack(">HI", body):
                if key == INITIAL_WINDOW_SIZE:
                    for one in self._windows:
                        self._windows[one] += value - self._initial
                    self._initial = value
            self._send(frame(SETTINGS, flags=ACK))
        elif kind == WINDOW_UPDATE and number == 0:
            self._window += int.from_bytes(body)
        elif kind == WINDOW_UPDATE and number in self._windows:
            self._windows[number] += int.from_bytes(body)
        elif kind == PING and not flags & ACK:
            self._send(frame(PING, body, flags=ACK))
        elif kind == RST_STREAM:
            self.ended += self._left.pop(number, None) is not None
        elif kind == GOAWAY:
            raise EOFError("the server said goodbye")


def frame(kind: int, body: bytes = b"", number: int = 0, flags: int = 0) -> bytes:
    """Make a frame."""
    head = struct.pack(">I", len(body))[1:] + bytes((kind, flags))
    return head + struct.pack(">I", number) + body


def literal(field: tuple[str, str]) -> bytes:
    """Spell a header field. Texts are shorter than 127 bytes, or up to 254 for values."""
    name, value = (text.encode() for text in field)
    return b"\0" + length_of(name) + name + length_of(value) + value


def length_of(text: bytes) -> bytes:
    """Spell the length of a string: a prefix of 7 bits (RFC 7541, section 5.1)."""
    most = 127
    if len(text) < most:
        return bytes((len(text),))
    left, spelled = len(text) - most, [most]
    while left > most:
        spelled.append(128 | left & most)
        left >>= 7
    return bytes((*spelled, left))


def connect(address: str, context: ssl.SSLContext | None = None) -> socket.socket:
    """Connect to `unix:PATH` or `HOST:PORT`, with TLS if there is a context."""
    if address.startswith("unix:"):
        plain = socket.socket(socket.AF_UNIX)
        plain.connect(address.removeprefix("unix:"))
        return plain
    host, _, port = address.rpartition(":")
    plain = socket.create_connection((host, int(port)))
    if context is None:
        return plain
    context.set_alpn_protocols(["h2"])
    return context.wrap_socket(plain, server_hostname="localhost")
