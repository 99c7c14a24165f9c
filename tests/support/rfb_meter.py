"""A VNC viewer that reads updates and does not decode them: it measures servers, not itself."""

from __future__ import annotations

import socket
import struct
from typing import Self

ENCODINGS = {"raw": 0, "zrle": 16, "tight": 7}
RAW, TIGHT, ZRLE = 0, 7, 16
SECONDS = 30.0


class RfbMeter:
    """One connection, with pixels of 32 bits, and no password."""

    def __init__(self, host: str, port: int, encoding: str) -> None:
        self._socket = socket.create_connection((host, port), SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._stream = self._socket.makefile("rb", buffering=1 << 20)
        self.bytes = 0
        """Bytes of all updates so far."""
        self._read(12)
        self._socket.sendall(b"RFB 003.008\n")
        assert 1 in self._read(self._read(1)[0])
        self._socket.sendall(b"\1")
        assert self._read(4) == bytes(4)
        self._socket.sendall(b"\1")
        self.width, self.height, _, length = struct.unpack(">HH16sI", self._read(24))
        self._read(length)
        kinds = struct.pack(">BxHi", 2, 1, ENCODINGS[encoding])
        little = struct.pack(">BBBBHHHBBB3x", 32, 24, 0, 1, 255, 255, 255, 16, 8, 0)
        self._socket.sendall(b"\0\0\0\0" + little + kinds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stream.close()
        self._socket.close()

    def ask(self, *, whole: bool = False) -> None:
        """Ask for what changes, or for all of the screen."""
        self._socket.sendall(struct.pack(">BB4H", 3, not whole, 0, 0, self.width, self.height))

    def update(self) -> int:
        """Read an update; return how many pixels it has."""
        while (kind := self._read(1)[0]) != 0:
            assert kind in (1, 2), kind  # a colour map or a bell
            if kind == 1:
                _, count = struct.unpack(">xHH", self._read(5))[-2:]
                self._read(6 * count)
        pixels = 0
        (count,) = struct.unpack(">xH", self._read(3))
        for _ in range(count):
            _, _, width, height, kind = struct.unpack(">HHHHi", self._read(12))
            pixels += width * height
            if kind == RAW:
                self._read(width * height * 4)
            elif kind == ZRLE:
                self._read(struct.unpack(">I", self._read(4))[0])
            else:
                assert kind == TIGHT, kind
                self._skip_tight(width, height)
        return pixels

    def screen(self) -> None:
        """Read updates until they have as many pixels as the screen."""
        left = self.width * self.height
        while True:
            left -= self.update()
            if left <= 0:
                return
            self.ask()

    def _skip_tight(self, width: int, height: int) -> None:
        """Read a Tight rectangle."""
        kind = self._read(1)[0] >> 4
        if kind == 8:
            self._read(3)
            return
        plain = width * height * 3
        if kind & 4 and kind < 8 and self._read(1)[0] == 1:
            colours = self._read(1)[0] + 1
            self._read(3 * colours)
            plain = ((width + 7) // 8 if colours == 2 else width) * height
        if plain < 12 and kind < 8:
            self._read(plain)
            return
        length = 0
        for shift in (0, 7, 14):
            byte = self._read(1)[0]
            length |= (byte if shift == 14 else byte & 0x7F) << shift
            if not byte & 0x80:
                break
        self._read(length)

    def _read(self, size: int) -> bytes:
        data: bytes = self._stream.read(size)
        assert len(data) == size
        self.bytes += size
        return data
