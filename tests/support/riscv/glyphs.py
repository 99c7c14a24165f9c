"""Text on the screen of a guest, read by the glyphs of its own console: no OCR.

A console's cell has 8x16 pixels. What the glyph of each character looks like is learnt from a
screenshot of known text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from virtmesh_client.screen.models import Pixels

CELL_WIDTH, CELL_HEIGHT = 8, 16
PRINTABLE = "".join(map(chr, range(32, 127)))
HALF = len(PRINTABLE) // 2
LESSON = (PRINTABLE[:HALF], PRINTABLE[HALF:])
"""Two lines with every character that is learnt."""
UNKNOWN = "\N{REPLACEMENT CHARACTER}"
Glyphs = Mapping[bytes, str]
"""A character by the pixels of its cell."""


def rows(screen: Pixels) -> Iterator[list[bytes]]:
    """Return the cells of each line."""
    stride = screen.width * 4
    for top in range(0, screen.height - CELL_HEIGHT + 1, CELL_HEIGHT):
        lines = [screen.data[y * stride :][:stride] for y in range(top, top + CELL_HEIGHT)]
        yield [
            b"".join(line[x * 4 : (x + CELL_WIDTH) * 4] for line in lines)
            for x in range(0, screen.width - CELL_WIDTH + 1, CELL_WIDTH)
        ]


def learn(screen: Pixels) -> Glyphs:
    """Learn the glyphs from a screen whose first lines are LESSON."""
    known: dict[bytes, str] = {}
    for line, cells in zip(LESSON, rows(screen), strict=False):
        known.update(zip(cells, line, strict=False))
    return known


def read(screen: Pixels, glyphs: Glyphs) -> list[str]:
    """Return the lines of a screen, without spaces at their ends."""
    return ["".join(glyphs.get(cell, UNKNOWN) for cell in line).rstrip() for line in rows(screen)]


def printf(text: str) -> str:
    """Return what printf of a shell makes the text of, whatever is in it."""
    return "'" + "".join(f"\\{ord(character):03o}" for character in text) + "'"
