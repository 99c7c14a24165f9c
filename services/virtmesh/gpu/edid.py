"""What a screen says of itself: an EDID of 128 bytes (VESA E-EDID release A, revision 2).

The offsets in the comments are those of the base block, version 1.4.
"""

from __future__ import annotations

from struct import pack
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from virtmesh.gpu.settings import Mode

MANUFACTURER = "VMH"
"""Three letters; the list of UEFI's PNP identifiers has no such vendor."""
SRGB = bytes.fromhex("ee91a3544c99260f5054")
"""Chromaticity of sRGB, as section 3.7 packs it."""
H_FRONT, H_SYNC, H_BLANK = 48, 32, 160
V_FRONT, V_SYNC, V_BLANK_MIN = 3, 5, 26
"""Blanking in pixels and lines, as CVT with reduced blanking has it."""
CLOCK_UNIT_HZ, CLOCK_MIN, CLOCK_MAX = 10_000, 1_000, 0xFFFF
"""Unit of a pixel clock, the least that a timing may have (10 MHz), and the largest value."""
REFRESH_HZ = 60
PIXELS_PER_CM = 38
"""96 pixels an inch."""


def make_edid(mode: Mode, number: int) -> bytes:
    """Make the EDID of a screen whose preferred mode is `mode`; `number` is its serial number."""
    letters = 0
    for letter in MANUFACTURER:
        letters = letters << 5 | ord(letter) - ord("A") + 1
    cm = [max(1, min(255, side // PIXELS_PER_CM)) for side in (mode.width, mode.height)]
    block = b"".join(
        (
            bytes.fromhex("00ffffffffffff00"),
            pack(">H", letters),
            pack("<HI", 1, number),  # 10: product code, serial number
            bytes((0, 2024 - 1990, 1, 4)),  # 16: no week, year, version 1.4
            bytes((0xA5, *cm, 120, 0x06)),  # 20: digital, 8 bits, DisplayPort; gamma 2.2; sRGB
            SRGB,
            bytes((0x21, 0x08, 0)),  # 35: 640x480, 800x600 and 1024x768, all at 60 Hz
            b"\x01\x01" * 8,  # 38: no standard timings
            _timing(mode, *cm),
            _text(0xFC, "virtmesh"),
            _text(0xFF, f"screen {number}"),
            bytes((0, 0, 0, 0x10)) + bytes(14),  # a descriptor that is not used
            bytes(1),  # 126: no extensions
        )
    )
    return block + bytes((-sum(block) & 0xFF,))


def _timing(mode: Mode, width_cm: int, height_cm: int) -> bytes:
    """Return a detailed timing (3.10.2), at 60 Hz, or as near as the pixel clock allows."""
    width, height = mode.width, mode.height
    lines = height + V_BLANK_MIN
    clock = (width + H_BLANK) * lines * REFRESH_HZ // CLOCK_UNIT_HZ
    clock = min(max(clock, CLOCK_MIN), CLOCK_MAX)
    width_mm, height_mm = width_cm * 10, height_cm * 10
    return pack(
        "<H16B",
        clock,
        width & 0xFF,
        H_BLANK & 0xFF,
        width >> 8 << 4 | H_BLANK >> 8,
        height & 0xFF,
        V_BLANK_MIN & 0xFF,
        height >> 8 << 4 | V_BLANK_MIN >> 8,
        H_FRONT & 0xFF,
        H_SYNC & 0xFF,
        V_FRONT << 4 | V_SYNC,
        0,  # The high bits of the four before: none is that large.
        width_mm & 0xFF,
        height_mm & 0xFF,
        width_mm >> 8 << 4 | height_mm >> 8,
        0,
        0,
        0x1A,  # digital separate sync; horizontal positive, vertical negative
    )


def _text(tag: int, text: str) -> bytes:
    """Return a descriptor with at most 13 characters of text (3.10.3)."""
    data = text.encode("ascii")[:13]
    return bytes((0, 0, 0, tag, 0)) + (data + b"\n" if len(data) < 13 else data).ljust(13, b" ")
