"""A console font: a bitmap for each character, in the file format of the Linux console.

PSF version 1 (psf(5) of kbd): a header of 4 bytes, the bitmaps, then for each bitmap the characters
that it stands for, 16 bits each, ended by 0xFFFF.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

FILE = Path(__file__).with_name("spleen-8x16.psfu")
MAGIC = b"\x36\x04"
HEADER = struct.Struct("<2sBB")
"""Magic, mode, bytes of a bitmap."""
MODE_512 = 0x01
"""512 bitmaps, else 256."""
MODE_TABLE = 0x02
"""There is a table of characters."""
SEQUENCES = 0xFFFE
"""Begins the sequences of a bitmap: characters with combining marks."""
SEPARATOR = 0xFFFF
WIDTH = 8
"""Pixels of a row: PSF 1 has one byte for it."""
MISSING = "\N{REPLACEMENT CHARACTER}"
"""What is shown for a character that the font does not have."""


@dataclass(frozen=True)
class Font:
    """A font of one size."""

    height: int
    """Pixels of a column. The width is WIDTH."""
    bitmaps: Mapping[str, bytes]
    """By character: a byte for each row, the leftmost pixel in its highest bit."""

    def bitmap(self, character: str) -> bytes:
        """Return the bitmap of a character, or that of MISSING."""
        return self.bitmaps.get(character) or self.bitmaps[MISSING]


def parse(data: bytes) -> Font:
    """Parse a file. Errors: ValueError."""
    if len(data) < HEADER.size:
        raise ValueError("a font file has a header of 4 bytes")
    magic, mode, height = HEADER.unpack_from(data)
    count = 512 if mode & MODE_512 else 256
    end = HEADER.size + count * height
    if magic != MAGIC or not mode & MODE_TABLE or not height or len(data) < end:
        raise ValueError("the file is no PSF 1 font with a table of characters")
    table = struct.unpack(
        f"<{(len(data) - end) // 2}H", data[end : end + (len(data) - end) // 2 * 2]
    )
    bitmaps: dict[str, bytes] = {}
    number, in_sequences = 0, False
    for unit in table:
        if unit == SEPARATOR:
            number, in_sequences = number + 1, False
        elif unit == SEQUENCES:
            in_sequences = True
        elif number < count and not in_sequences:
            start = HEADER.size + number * height
            bitmaps[chr(unit)] = data[start : start + height]
    if MISSING not in bitmaps:
        raise ValueError("the font has no replacement character")
    return Font(height, bitmaps)


@cache
def console_font() -> Font:
    """Return the font of the virtual terminal."""
    return parse(FILE.read_bytes())
