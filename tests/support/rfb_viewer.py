"""A VNC viewer for tests: it says what the test wants, and keeps the picture that it is sent."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.support.rfb_decoders import (
    Format,
    Rows,
    Source,
    Streams,
    decode_raw,
    decode_tight,
    decode_zrle,
)
from virtmesh_common.time_limit import time_limit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

SECONDS = 30.0
RAW, TIGHT, ZRLE = 0, 7, 16
DESKTOP_SIZE, CURSOR, MOTION, EXTENDED_KEY, NAME = -223, -239, -257, -258, -307
EXTENDED_SIZE, FENCE, CONTINUOUS, CURSOR_WITH_ALPHA = -308, -312, -313, -314
SHAPES = (CURSOR, CURSOR_WITH_ALPHA)


class Refused(Exception):
    """The server lets nobody in; its reason."""


@dataclass
class Shape:
    """A cursor as it was sent."""

    kind: int
    hot: tuple[int, int]
    size: tuple[int, int]
    data: bytes


@dataclass
class Seen:
    """What updates told beside pixels."""

    notes: list[tuple[int, tuple[int, int, int, int]]] = field(default_factory=list)
    """Pseudo-encodings and their rectangles."""
    names: list[str] = field(default_factory=list)
    shapes: list[Shape] = field(default_factory=list)
    fences: list[tuple[int, bytes]] = field(default_factory=list)
    ends: int = 0
    """EndOfContinuousUpdates messages."""
    map_entries: int = 0
    rects: list[tuple[int, int, int, int]] = field(default_factory=list)
    """Rectangles of pixels of the last update."""


class RfbViewer:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.how = Format()
        self.streams = Streams()
        self.width = self.height = 0
        self.name = ""
        self.rows: Rows = []
        self.seen = Seen()

    async def read(self, size: int) -> bytes:
        """Read so many bytes."""
        async with time_limit(SECONDS):
            return await self.reader.readexactly(size)

    async def number(self, size: int = 1) -> int:
        """Read a number."""
        return int.from_bytes(await self.read(size), "big")

    async def shake_hands(
        self, version: bytes = b"RFB 003.008\n", answer: Callable[[bytes], bytes] | None = None
    ) -> None:
        """Begin a session. `answer` is what VNC authentication is answered. Errors: Refused."""
        assert await self.read(12) == b"RFB 003.008\n"
        self.writer.write(version)
        old = version < b"RFB 003.007\n"
        wanted = 2 if answer else 1
        if old:
            kind = await self.number(4)
        else:
            kinds = await self.read(await self.number())
            kind = wanted if wanted in kinds else 0
        if not kind:
            raise Refused((await self.read(await self.number(4))).decode())
        assert kind == wanted
        if not old:
            self.writer.write(bytes([kind]))
        if answer:
            self.writer.write(answer(await self.read(16)))
        has_result = answer or version >= b"RFB 003.008\n"
        if has_result and await self.number(4):
            reason = await self.read(await self.number(4)) if version >= b"RFB 003.008\n" else b""
            raise Refused(reason.decode())
        self.writer.write(b"\1")
        self.width, self.height = struct.unpack(">HH", await self.read(4))
        assert await self.read(16) == struct.pack(
            ">BBBBHHHBBB3x", 32, 24, 0, 1, 255, 255, 255, 16, 8, 0
        )
        self.name = (await self.read(await self.number(4))).decode()
        self._clear()

    def _clear(self) -> None:
        self.rows = [[(0, 0, 0)] * self.width for _ in range(self.height)]

    # -- What a viewer says -----------------------------------------------------------------------

    def set_format(self, how: Format, *, true_colour: bool = True) -> None:
        """Ask for another pixel format."""
        self.how = how
        packed = struct.pack(
            ">BBBBHHHBBB3x", how.bits, how.depth, how.big, true_colour, *how.maxima, *how.shifts
        )
        self.writer.write(b"\0\0\0\0" + packed)

    def set_encodings(self, *encodings: int) -> None:
        """Say what is understood."""
        self.writer.write(struct.pack(f">BxH{len(encodings)}i", 2, len(encodings), *encodings))

    def ask(self, *, whole: bool = False, area: tuple[int, int, int, int] | None = None) -> None:
        """Ask for an update."""
        place = area or (0, 0, self.width, self.height)
        self.writer.write(struct.pack(">BB4H", 3, not whole, *place))

    def key(self, keysym: int, *, down: bool) -> None:
        """Press or release a key, by what it types."""
        self.writer.write(struct.pack(">BB2xI", 4, down, keysym))

    def scancode(self, code: int, *, down: bool, keysym: int = 0) -> None:
        """Press or release a key, as QEMU's extension says it."""
        self.writer.write(struct.pack(">BBHII", 255, 0, down, keysym, code))

    def point(self, x: int, y: int, buttons: int = 0) -> None:
        """Move the pointer."""
        self.writer.write(struct.pack(">BBHH", 5, buttons, x, y))

    def wish_size(self, width: int, height: int, screens: int = 1) -> None:
        """Ask for another size."""
        screen = struct.pack(">IHHHHI", 0, 0, 0, width, height, 0)
        self.writer.write(struct.pack(">BxHHBx", 251, width, height, screens) + screen * screens)

    def fence(self, flags: int, payload: bytes) -> None:
        """Send a fence."""
        self.writer.write(struct.pack(">B3xIB", 248, flags, len(payload)) + payload)

    def set_continuous(self, *, enable: bool) -> None:
        """Ask for updates without requests, or for no more of them."""
        self.writer.write(struct.pack(">BB4H", 150, enable, 0, 0, self.width, self.height))

    # -- What it is sent --------------------------------------------------------------------------

    async def update(self) -> None:
        """Read messages up to the end of the next update."""
        while not await self.message():
            pass

    async def message(self) -> bool:
        """Read one message; say whether it was an update."""
        kind = await self.number()
        if kind == 1:
            await self.read(1)
            first, count = await self.number(2), await self.number(2)
            await self.read(6 * count)
            self.seen.map_entries = first + count
        elif kind == 150:
            self.seen.ends += 1
        elif kind == 248:
            flags, size = struct.unpack(">3xIB", await self.read(8))
            self.seen.fences.append((flags, await self.read(size)))
        else:
            assert kind == 0, kind
            await self.read(1)
            self.seen.rects = []
            for _ in range(await self.number(2)):
                await self._rect()
        return kind == 0

    async def until(self, condition: Callable[[], object]) -> None:
        """Ask for updates, and read them, until a condition is true."""
        async with time_limit(SECONDS):
            while not condition():
                self.ask()
                await self.update()

    async def _rect(self) -> None:
        """Read a rectangle."""
        x, y, width, height, kind = struct.unpack(">HHHHi", await self.read(12))
        if kind >= 0:
            self.seen.rects.append((x, y, width, height))
            part = await self._pixels(kind, width, height)
            for row in range(height):
                self.rows[y + row][x : x + width] = part[row]
            assert all(len(row) == self.width for row in self.rows[y : y + height])
            return
        self.seen.notes.append((kind, (x, y, width, height)))
        if kind in SHAPES:
            await self._shape(kind, (x, y), (width, height))
        elif kind == NAME:
            self.seen.names.append((await self.read(await self.number(4))).decode())
        elif kind in (DESKTOP_SIZE, EXTENDED_SIZE):
            if kind == EXTENDED_SIZE:
                assert await self.read(4) == b"\1\0\0\0"
                assert struct.unpack(">IHHHHI", await self.read(16))[3:5] == (width, height)
            if (width, height) != (self.width, self.height):
                self.width, self.height = width, height
                self._clear()

    async def _pixels(self, kind: int, width: int, height: int) -> Rows:
        """Read the pixels of a rectangle."""
        if kind == RAW:
            data = await self.read(width * height * self.how.size)
            return decode_raw(Source(data), width, height, self.how)
        if kind == ZRLE:
            head = await self.read(4)
            data = head + await self.read(int.from_bytes(head, "big"))
            return decode_zrle(Source(data), width, height, self.how, self.streams)
        assert kind == TIGHT
        data = await self._tight(width, height)
        source = Source(data)
        rows = decode_tight(source, width, height, self.how, self.streams)
        assert source.place == len(data)
        return rows

    async def _tight(self, width: int, height: int) -> bytes:
        """Read the bytes of a Tight rectangle, whose length follows from what it has in it."""
        size = 3 if self.how.has_rgb else self.how.size
        data = await self.read(1)
        kind = data[0] >> 4
        if kind == 8:
            return data + await self.read(size)
        plain = width * height * size
        if kind & 4 and kind < 8:
            data += await self.read(2)
            colours = data[2] + 1
            data += await self.read(colours * size)
            plain = ((width + 7) // 8 if colours == 2 else width) * height
        if plain < 12 and kind < 8:
            return data + await self.read(plain)
        length = shift = 0
        while shift < 21:
            byte = await self.read(1)
            data += byte
            length |= (byte[0] if shift == 14 else byte[0] & 0x7F) << shift
            shift += 7 if byte[0] & 0x80 else 21
        return data + await self.read(length)

    async def _shape(self, kind: int, hot: tuple[int, int], size: tuple[int, int]) -> None:
        """Read the shape of a cursor."""
        width, height = size
        count = width * height * self.how.size + (width + 7) // 8 * height
        if kind == CURSOR_WITH_ALPHA:
            assert await self.number(4) == RAW
            count = width * height * 4
        self.seen.shapes.append(Shape(kind, hot, size, await self.read(count)))

    def stop_reading(self) -> None:
        """Take nothing from the connection any more."""
        transport = self.writer.transport
        assert isinstance(transport, asyncio.ReadTransport)
        transport.pause_reading()

    async def end(self) -> bytes:
        """Read what is left until the server closes the connection."""
        async with time_limit(SECONDS):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""


@asynccontextmanager
async def connected(address: tuple[str, int], *, room: int = 0) -> AsyncIterator[RfbViewer]:
    """Give a viewer before its handshake. `room` is the size of its receive buffer, in bytes."""
    ours = socket.socket()
    if room:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
    ours.connect(address)
    viewer = RfbViewer(*await asyncio.open_connection(sock=ours))
    try:
        yield viewer
    finally:
        viewer.writer.close()
        with contextlib.suppress(ConnectionError):
            await viewer.writer.wait_closed()


@asynccontextmanager
async def viewing(
    address: tuple[str, int], *encodings: int, version: bytes = b"RFB 003.008\n"
) -> AsyncIterator[RfbViewer]:
    """Give a viewer in a session, which understands some encodings."""
    async with connected(address) as viewer:
        async with time_limit(SECONDS):
            await viewer.shake_hands(version)
        if encodings:
            viewer.set_encodings(*encodings)
        yield viewer
