"""A VNC viewer that says anything: the handshake, then messages (RFC 6143)."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from tests.fuzz.loop import Loop
from tests.fuzz.target import Target
from virtmesh_client.vnc.connection import Connection
from virtmesh_client.vnc.errors import ViewerError, ViewerLeft
from virtmesh_client.vnc.handshake import admit
from virtmesh_client.vnc.messages import (
    EnableContinuousUpdates,
    Message,
    SetEncodings,
    UpdateRequest,
    read_message,
)
from virtmesh_client.vnc.options import VncOptions
from virtmesh_client.vnc.password import PasswordGate
from virtmesh_client.vnc.rects import Rect
from virtmesh_client.vnc.region import Region
from virtmesh_client.vnc.spec import VERSION
from virtmesh_client.vnc.wishes import read_wishes

SIZE = (64, 48)


async def no_sleep(_seconds: float) -> None:
    """Let nobody wait for a wrong password."""


class Sink:
    """Takes what the viewer is sent."""

    def write(self, data: bytes, /) -> None:
        """Take bytes."""

    async def drain(self) -> None:
        """Wait for nothing."""

    def close(self) -> None:
        """Close nothing."""


@contextmanager
def opened() -> Iterator[Callable[[bytes], None]]:
    """Serve one viewer after the other."""
    with Loop() as loop:

        async def serve(data: bytes) -> None:
            reader = asyncio.StreamReader()
            reader.feed_data(data[1:])
            reader.feed_eof()
            connection = Connection(reader, Sink(), VncOptions())
            with suppress(ViewerError, ViewerLeft):
                if data[:1] and data[0] & 1:
                    await admit(
                        connection, PasswordGate(b"secret", no_sleep) if data[0] & 2 else None
                    )
                while True:
                    take(await read_message(await connection.read_first(), connection))

        yield lambda data: loop.run(serve(data))


def take(message: Message) -> None:
    """Do with a message what a session does first."""
    if isinstance(message, SetEncodings):
        read_wishes(message.encodings)
    elif isinstance(message, (UpdateRequest, EnableContinuousUpdates)):
        region = Region(*SIZE)
        screen = Rect(0, 0, *SIZE)
        region.add(message.area.clip(screen))
        for rect in region.take(screen):
            assert rect.right <= screen.right
            assert rect.bottom <= screen.bottom


def seeds() -> list[bytes]:
    """Return a session of each message."""
    format_ = struct.pack(">B3xBBBBHHHBBB3x", 0, 32, 24, 0, 1, 255, 255, 255, 16, 8, 0)
    encodings = struct.pack(">BxH4i", 2, 4, 16, 7, -239, -308)
    rest = [
        struct.pack(">B?4H", 3, 1, 0, 0, 64, 48),
        struct.pack(">B?2xI", 4, 1, 0x61),
        struct.pack(">BBHH", 5, 1, 10, 20),
        struct.pack(">B3xi", 6, 3) + b"abc",
        struct.pack(">B?4H", 150, 1, 0, 0, 64, 48),
        struct.pack(">B3xIB", 248, 1, 4) + b"mark",
        struct.pack(">BxHHBx", 251, 64, 48, 1) + bytes(16),
        struct.pack(">BBHII", 255, 0, 1, 0x61, 30),
    ]
    messages = format_ + encodings + b"".join(rest)
    return [
        b"\0" + messages,
        b"\x01" + VERSION + b"\x01\x01" + messages,
        b"\x03" + VERSION + b"\x02" + bytes(17),
    ]


TARGET = Target(opened, seeds)
