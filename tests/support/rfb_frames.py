"""A viewer that counts frames: RFB 3.8 (RFC 6143), encoding Raw, without a password."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import socket

VERSION = b"RFB 003.008\n"
NO_SECURITY = 1
SERVER_INIT = struct.Struct(">HH16xI")
REQUEST = struct.Struct(">BBHHHH")
RECTANGLE = struct.Struct(">HHHHi")
RAW, DESKTOP_SIZE = 0, -223
FRAMEBUFFER_UPDATE, COLOUR_MAP, BELL, CUT_TEXT = range(4)
PIXEL = 4


class RfbFrames:
    """Asks for one update after the other, and throws the pixels away."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._buffer = bytearray(1 << 20)
        self.bytes_read = 0
        self._receive(len(VERSION))
        connection.sendall(VERSION)
        if NO_SECURITY not in self._receive(self._receive(1)[0]):
            raise ConnectionError("the server wants a password")
        connection.sendall(bytes([NO_SECURITY]))
        if any(self._receive(4)):
            raise ConnectionError("the server refuses the viewer")
        connection.sendall(b"\x01")  # Others may watch as well.
        self.width, self.height, name = SERVER_INIT.unpack(self._receive(SERVER_INIT.size))
        self._receive(name)
        encodings = (RAW, DESKTOP_SIZE)
        connection.sendall(struct.pack(f">BxH{len(encodings)}i", 2, len(encodings), *encodings))
        self._ask(incremental=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._connection.close()

    def update(self) -> float:
        """Read an update; return which part of the picture is in it."""
        while True:
            kind = self._receive(1)[0]
            if kind == FRAMEBUFFER_UPDATE:
                break
            if kind == CUT_TEXT:
                self._receive(struct.unpack(">3xI", self._receive(7))[0])
            elif kind != BELL:
                raise ConnectionError(f"the server sends a message of type {kind}")
        pixels = 0
        for _ in range(struct.unpack(">xH", self._receive(3))[0]):
            _, _, width, height, encoding = RECTANGLE.unpack(self._receive(RECTANGLE.size))
            if encoding == DESKTOP_SIZE:
                self.width, self.height = width, height
            elif encoding == RAW:
                self._skip(width * height * PIXEL)
                pixels += width * height
            else:
                raise ConnectionError(f"the server sends encoding {encoding}")
        self._ask(incremental=True)
        share: float = pixels / (self.width * self.height)
        return share

    def _ask(self, *, incremental: bool) -> None:
        request = REQUEST.pack(3, incremental, 0, 0, self.width, self.height)
        self._connection.sendall(request)

    def _receive(self, length: int) -> bytes:
        """Read so many bytes. Errors: ConnectionError."""
        parts = []
        while length:
            part = self._connection.recv(length)
            if not part:
                raise ConnectionError("the server ended the connection")
            parts.append(part)
            length -= len(part)
        return b"".join(parts)

    def _skip(self, length: int) -> None:
        """Read so many bytes into the same place."""
        self.bytes_read += length
        view = memoryview(self._buffer)
        while length:
            count = self._connection.recv_into(view[: min(length, len(view))])
            if not count:
                raise ConnectionError("the server ended the connection")
            length -= count
