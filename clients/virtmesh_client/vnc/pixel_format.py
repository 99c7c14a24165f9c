"""The pixel format that a viewer wishes for (RFC 6143, 7.4)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Self

from virtmesh_client.vnc.errors import ViewerError

LAYOUT = struct.Struct(">BBBBHHHBBB3x")
WIDTHS = (8, 16, 32)
"""Bits of a pixel that there are."""


@dataclass(frozen=True)
class PixelFormat:
    """How the bits of a pixel lie. Triples are red, green, blue."""

    bits: int
    """Bits of a pixel: 8, 16 or 32."""
    depth: int
    """Bits that mean something."""
    big_endian: bool
    true_colour: bool
    """False: a pixel is the index of a colour in a map of 256, which the server sends."""
    maxima: tuple[int, int, int]
    """The values of full red, green and blue."""
    shifts: tuple[int, int, int]
    """How far each of them is shifted to the left."""

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Read the 16 bytes of a format. Errors: ViewerError."""
        bits, depth, big, true, *colours = LAYOUT.unpack(data)
        red, green, blue, *shifts = colours
        found = cls(bits, depth, bool(big), bool(true), (red, green, blue), tuple(shifts))
        if bits not in WIDTHS:
            raise ViewerError(f"it wants {bits} bits for a pixel, and there are 8, 16 or 32")
        if not true and bits != WIDTHS[0]:
            raise ViewerError(f"it wants a colour map for {bits} bits, and there is one for 8")
        if true:
            found.check_colours()
        return found

    def check_colours(self) -> None:
        """Refuse colours that have no place of their own in a pixel. Errors: ViewerError."""
        taken = 0
        for maximum, shift in zip(self.maxima, self.shifts, strict=True):
            mask = ((1 << maximum.bit_length()) - 1) << shift
            if not maximum or mask >> self.bits or mask & taken:
                raise ViewerError(
                    f"it wants colours that don't fit into {self.bits} bits: maxima {self.maxima},"
                    f" shifts {self.shifts}"
                )
            taken |= mask

    def pack(self) -> bytes:
        """Return the 16 bytes of the format."""
        return LAYOUT.pack(
            self.bits, self.depth, self.big_endian, self.true_colour, *self.maxima, *self.shifts
        )

    @property
    def mask(self) -> int:
        """The bits of a pixel that mean something."""
        found = 0
        for maximum, shift in zip(self.maxima, self.shifts, strict=True):
            found |= ((1 << maximum.bit_length()) - 1) << shift
        return found


NATIVE = PixelFormat(
    bits=32,
    depth=24,
    big_endian=False,
    true_colour=True,
    maxima=(255, 255, 255),
    shifts=(16, 8, 0),
)
"""The format of the screen: blue, green, red, and a byte that means nothing."""
MAPPED = PixelFormat(
    bits=8, depth=8, big_endian=False, true_colour=True, maxima=(7, 7, 3), shifts=(0, 3, 6)
)
"""How the colours of the map are numbered, for viewers without true colour."""


def colour_map() -> bytes:
    """Return the SetColourMapEntries message (7.6.2) with the colours of MAPPED."""
    entries = []
    for pixel in range(256):
        values = [
            (pixel >> shift & maximum) * 0xFFFF // maximum
            for maximum, shift in zip(MAPPED.maxima, MAPPED.shifts, strict=True)
        ]
        entries.append(struct.pack(">3H", *values))
    return struct.pack(">BxHH", 1, 0, 256) + b"".join(entries)
