"""What a viewer sends: each message is read whole, and bounded, before it is carried out.

Those of which there are many are tuples, which cost the least.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from virtmesh_client.vnc.errors import ViewerError
from virtmesh_client.vnc.pixel_format import PixelFormat
from virtmesh_client.vnc.rects import Rect
from virtmesh_client.vnc.spec import FromViewer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from virtmesh_client.vnc.connection import Connection

ENCODINGS_MAX = 1024
"""Most encodings of a message. There are about a hundred."""
CUT_TEXT_MAX = 1 << 20
"""Longest text of a clipboard, in bytes. It is thrown away."""
CUT_PIECE = 16 << 10
FENCE_MAX = 64
"""Longest payload of a fence (registry)."""
EXTENDED_KEY = 0
"""The submessage of QEMU's message that is read; others are about sound."""


@dataclass(frozen=True)
class SetPixelFormat:
    """Pixels are to be of this format (7.5.1)."""

    pixel_format: PixelFormat


@dataclass(frozen=True)
class SetEncodings:
    """What the viewer understands, the best first (7.5.2)."""

    encodings: tuple[int, ...]


class UpdateRequest(NamedTuple):
    """The viewer waits for what has changed in an area, or for all of it (7.5.3)."""

    incremental: bool
    area: Rect


class KeyEvent(NamedTuple):
    """A key goes down or up (7.5.4). `scancode` is of set 1, 0 if it is not known (QEMU's)."""

    down: bool
    keysym: int
    scancode: int = 0


class PointerEvent(NamedTuple):
    """The pointer is somewhere; `buttons` has a bit for each one that is down (7.5.5)."""

    buttons: int
    x: int
    y: int


@dataclass(frozen=True)
class CutText:
    """A clipboard (7.5.6); its text is gone."""


@dataclass(frozen=True)
class EnableContinuousUpdates:
    """Updates of an area are wished for without requests, or no longer (registry)."""

    enable: bool
    area: Rect


@dataclass(frozen=True)
class Fence:
    """A mark in the stream, to be sent back, or that was (registry)."""

    flags: int
    payload: bytes


@dataclass(frozen=True)
class SetDesktopSize:
    """The viewer wishes for another size (registry). `screens` is how many it wants."""

    width: int
    height: int
    screens: int


Message: TypeAlias = (
    SetPixelFormat
    | SetEncodings
    | UpdateRequest
    | KeyEvent
    | PointerEvent
    | CutText
    | EnableContinuousUpdates
    | Fence
    | SetDesktopSize
)


async def read_message(kind: int, connection: Connection) -> Message:
    """Read the rest of a message, whose first byte is `kind`. Errors: ViewerError."""
    read = READERS.get(kind)
    if read is None:
        raise ViewerError(f"it sent a message of type {kind}, which there is not")
    return await read(connection)


async def read_pixel_format(connection: Connection) -> Message:
    """Read SetPixelFormat."""
    return SetPixelFormat(PixelFormat.unpack((await connection.read(19))[3:]))


async def read_encodings(connection: Connection) -> Message:
    """Read SetEncodings."""
    (count,) = struct.unpack(">xH", await connection.read(3))
    if count > ENCODINGS_MAX:
        raise ViewerError(f"it has {count} encodings: at most {ENCODINGS_MAX} are read")
    return SetEncodings(struct.unpack(f">{count}i", await connection.read(4 * count)))


async def read_update_request(connection: Connection) -> Message:
    """Read FramebufferUpdateRequest."""
    incremental, *area = struct.unpack(">?4H", await connection.read(9))
    return UpdateRequest(incremental, Rect(*area))


async def read_key(connection: Connection) -> Message:
    """Read KeyEvent."""
    return KeyEvent(*struct.unpack(">?2xI", await connection.read(7)))


async def read_pointer(connection: Connection) -> Message:
    """Read PointerEvent."""
    return PointerEvent(*struct.unpack(">BHH", await connection.read(5)))


async def read_cut_text(connection: Connection) -> Message:
    """Read ClientCutText, and throw it away.

    A negative length is that of the extended clipboard, which is not offered.
    """
    (length,) = struct.unpack(">3xi", await connection.read(7))
    if not 0 <= length <= CUT_TEXT_MAX:
        raise ViewerError(f"its clipboard has {length} bytes: at most {CUT_TEXT_MAX} are read")
    while length:
        length -= len(await connection.read(min(length, CUT_PIECE)))
    return CutText()


async def read_continuous(connection: Connection) -> Message:
    """Read EnableContinuousUpdates."""
    enable, *area = struct.unpack(">?4H", await connection.read(9))
    return EnableContinuousUpdates(enable, Rect(*area))


async def read_fence(connection: Connection) -> Message:
    """Read ClientFence."""
    flags, length = struct.unpack(">3xIB", await connection.read(8))
    if length > FENCE_MAX:
        raise ViewerError(f"its fence has {length} bytes: at most {FENCE_MAX} are allowed")
    return Fence(flags, await connection.read(length))


async def read_desktop_size(connection: Connection) -> Message:
    """Read SetDesktopSize. Where its screens lie is of no interest: there is one."""
    width, height, screens = struct.unpack(">xHHBx", await connection.read(7))
    await connection.read(16 * screens)
    return SetDesktopSize(width, height, screens)


async def read_qemu(connection: Connection) -> Message:
    """Read QEMU's extended key event."""
    (kind,) = await connection.read(1)
    if kind != EXTENDED_KEY:
        raise ViewerError(f"it sent QEMU's message {kind}, which is not offered")
    down, keysym, scancode = struct.unpack(">HII", await connection.read(10))
    return KeyEvent(bool(down), keysym, scancode)


READERS: dict[int, Callable[[Connection], Awaitable[Message]]] = {
    FromViewer.SET_PIXEL_FORMAT: read_pixel_format,
    FromViewer.SET_ENCODINGS: read_encodings,
    FromViewer.UPDATE_REQUEST: read_update_request,
    FromViewer.KEY_EVENT: read_key,
    FromViewer.POINTER_EVENT: read_pointer,
    FromViewer.CUT_TEXT: read_cut_text,
    FromViewer.ENABLE_CONTINUOUS_UPDATES: read_continuous,
    FromViewer.FENCE: read_fence,
    FromViewer.SET_DESKTOP_SIZE: read_desktop_size,
    FromViewer.QEMU: read_qemu,
}
