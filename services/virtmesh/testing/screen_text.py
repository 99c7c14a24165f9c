"""Text on a screen of the virtual terminal, read by the font that it is written in: no OCR.

pixels = machine.screen("gpu").pixels()
assert "virtmesh>" in read_screen(pixels.width, pixels.height, pixels.data)[-1]

It is exact: a glyph that differs in one pixel is none.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from virtmesh.kernel.vt.font import WIDTH, console_font
from virtmesh.kernel.vt.grid import BLANK
from virtmesh.kernel.vt.painter import INK, PIXEL

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

UNKNOWN = "\N{REPLACEMENT CHARACTER}"
"""What a cell is read as whose pixels are no glyph of the font."""


def read_screen(width: int, height: int, pixels: bytes) -> Sequence[str]:
    """Return the lines of a picture of blue, green, red and a fourth byte, without spaces at ends.

    A cell is known only if each of its pixels is as the font has it, in the colours of the terminal
    or, under the cursor, in reverse. Where glyphs are alike, it is the first character of them.
    """
    rows, cell = range(0, height - console_font().height + 1, console_font().height), WIDTH * PIXEL
    known = glyphs()
    return [
        "".join(
            known.get(one, UNKNOWN) for one in _cells(pixels, width * PIXEL, top, cell)
        ).rstrip()
        for top in rows
    ]


def _cells(pixels: bytes, stride: int, top: int, cell: int) -> Iterator[bytes]:
    """Yield the pixels of each cell of a row of text, its rows of pixels one after the other."""
    lines = [pixels[y * stride :][:stride] for y in range(top, top + console_font().height)]
    for x in range(0, stride - cell + 1, cell):
        yield b"".join(line[x : x + cell] for line in lines)


@cache
def glyphs() -> Mapping[bytes, str]:
    """Return the characters of the font by their pixels, as pictures have them."""
    ink, paper = INK[:3] + b"\xff", b"\0\0\0\xff"
    known: dict[bytes, str] = {}
    bitmaps = console_font().bitmaps
    # What the font does not have is shown as UNKNOWN, and read as that.
    for character, bitmap in ((UNKNOWN, bitmaps[UNKNOWN]), *sorted(bitmaps.items())):
        for one, other in ((ink, paper), (paper, ink)):
            pixels = b"".join(
                one if row >> (WIDTH - 1 - x) & 1 else other for row in bitmap for x in range(WIDTH)
            )
            known.setdefault(pixels, character if character.strip() else BLANK)
    return known
