"""Numbers of the RFB protocol: RFC 6143, and the community's registry (rfbproto) for extensions."""

from __future__ import annotations

from enum import IntEnum, IntFlag

VERSION = b"RFB 003.008\n"
"""The newest version (7.1.1)."""


class Security(IntEnum):
    """Security types (7.1.2)."""

    NONE = 1
    VNC_AUTHENTICATION = 2


class FromViewer(IntEnum):
    """Messages of viewers (7.5, and the registry)."""

    SET_PIXEL_FORMAT = 0
    SET_ENCODINGS = 2
    UPDATE_REQUEST = 3
    KEY_EVENT = 4
    POINTER_EVENT = 5
    CUT_TEXT = 6
    ENABLE_CONTINUOUS_UPDATES = 150
    FENCE = 248
    SET_DESKTOP_SIZE = 251
    QEMU = 255


class ToViewer(IntEnum):
    """Messages of the server (7.6, and the registry)."""

    UPDATE = 0
    COLOUR_MAP = 1
    END_OF_CONTINUOUS_UPDATES = 150
    FENCE = 248


class Encoding(IntEnum):
    """Encodings, and pseudo-encodings, by which a viewer says what it understands (7.7, 7.8)."""

    RAW = 0
    TIGHT = 7
    ZRLE = 16
    JPEG_QUALITY_9 = -23
    JPEG_QUALITY_0 = -32
    DESKTOP_SIZE = -223
    LAST_RECT = -224
    CURSOR = -239
    COMPRESSION_9 = -247
    COMPRESSION_0 = -256
    QEMU_POINTER_MOTION = -257
    QEMU_EXTENDED_KEY = -258
    DESKTOP_NAME = -307
    EXTENDED_DESKTOP_SIZE = -308
    FENCE = -312
    CONTINUOUS_UPDATES = -313
    CURSOR_WITH_ALPHA = -314


class FenceFlag(IntFlag):
    """Flags of a fence."""

    BLOCK_BEFORE = 1
    BLOCK_AFTER = 2
    SYNC_NEXT = 4
    REQUEST = 1 << 31


class SizeReason(IntEnum):
    """Who changed the size (x of an ExtendedDesktopSize rectangle)."""

    SERVER = 0
    THIS_VIEWER = 1


class SizeStatus(IntEnum):
    """What became of a wish for another size (y of an ExtendedDesktopSize rectangle)."""

    DONE = 0
    PROHIBITED = 1
    INVALID_LAYOUT = 3
    FORWARDED = 4


LAST_RECT_COUNT = 0xFFFF
"""Number of rectangles of an update that ends with a LastRect."""
RELATIVE_ZERO = 0x7FFF
"""The position that means no motion, while positions of the pointer are relative."""
