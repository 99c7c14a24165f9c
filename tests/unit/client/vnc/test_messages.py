"""Messages of viewers: every one is read whole, or refused."""

from __future__ import annotations

import asyncio
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtmesh_client.vnc import VncOptions
from virtmesh_client.vnc.connection import Connection
from virtmesh_client.vnc.errors import ViewerError, ViewerLeft
from virtmesh_client.vnc.messages import (
    Fence,
    KeyEvent,
    PointerEvent,
    SetDesktopSize,
    SetEncodings,
    UpdateRequest,
    read_message,
)
from virtmesh_client.vnc.rects import Rect


class Nobody:
    """A writer whose bytes nobody gets."""

    def write(self, data: bytes) -> None:
        """Take bytes."""

    async def drain(self) -> None:
        """Wait for nothing."""

    def close(self) -> None:
        """Close nothing."""


async def read_all(data: bytes) -> list[object]:
    """Read messages to the end. Errors: ViewerError."""
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    connection = Connection(reader, Nobody(), VncOptions())
    found: list[object] = []
    while True:
        try:
            kind = await connection.read_first()
        except ViewerLeft:
            return found
        found.append(await read_message(kind, connection))


def outcome(data: bytes) -> str:
    """Return what became of bytes of a viewer."""
    try:
        return f"{len(asyncio.run(read_all(data)))} messages"
    except ViewerError as error:
        return str(error)


def test_messages_one_after_the_other() -> None:
    """Each takes the bytes that are its own."""
    data = (
        struct.pack(">BxHii", 2, 2, 16, -239)
        + struct.pack(">BBHHHH", 3, 1, 1, 2, 3, 4)
        + struct.pack(">BB2xI", 4, 1, 0x61)
        + struct.pack(">BBHH", 5, 8, 10, 20)
        + struct.pack(">B3xI", 6, 3)
        + b"abc"
        + struct.pack(">B3xIB", 248, 1 << 31, 2)
        + b"xy"
        + struct.pack(">BxHHBx", 251, 640, 480, 1)
        + bytes(16)
        + struct.pack(">BBHII", 255, 0, 1, 0x61, 0x1E)
    )
    found = asyncio.run(read_all(data))
    del found[4]
    assert found == [
        SetEncodings((16, -239)),
        UpdateRequest(incremental=True, area=Rect(1, 2, 3, 4)),
        KeyEvent(down=True, keysym=0x61),
        PointerEvent(8, 10, 20),
        Fence(1 << 31, b"xy"),
        SetDesktopSize(640, 480, 1),
        KeyEvent(down=True, keysym=0x61, scancode=0x1E),
    ]


@given(st.sampled_from([0, 2, 3, 4, 5, 6, 150, 248, 251, 255]), st.binary(max_size=200))
def test_any_bytes_are_messages_or_refused(kind: int, data: bytes) -> None:
    """Nothing else is raised, and reading ends."""
    assert outcome(bytes([kind]) + data)


@pytest.mark.parametrize("kind", [0, 2, 3, 4, 5, 6, 150, 248, 251, 255])
def test_a_message_that_is_cut_off(kind: int) -> None:
    """The viewer left in the middle of it."""
    with pytest.raises(ViewerError, match="it left in the middle of a message"):
        asyncio.run(read_all(bytes([kind])))
