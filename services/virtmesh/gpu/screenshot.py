"""Pictures as files."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

from PIL import Image

from virtmesh_common.gpu.spec import CURSOR_SIDE, PIXEL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from virtmesh.gpu.scanout import Cursor

PNG_LEVEL = 1
"""Compression of zlib: screens are mostly flat, and higher levels save little and take long."""


def draw_cursor(pixels: bytes, width: int, height: int, cursor: Cursor) -> list[memoryview]:
    """Draw a cursor into a picture; return the parts of the result, which follow each other.

    Both have blue, green, red and a fourth byte. The driver gives the place of the top left corner
    of the image (5.7.6.10). Part of it may be outside, or all. Only the rows that it covers are
    copied: the copy of a large picture would hold up the other threads.
    """
    whole = memoryview(pixels)
    if not (-CURSOR_SIDE < cursor.x < width and -CURSOR_SIDE < cursor.y < height):
        return [whole]
    first, last = max(cursor.y, 0), min(cursor.y + CURSOR_SIDE, height)
    start, end = first * width * PIXEL, last * width * PIXEL
    rows = Image.frombytes("RGB", (width, last - first), whole[start:end], "raw", "BGRX")
    image = Image.frombytes("RGBA", (CURSOR_SIDE,) * 2, cursor.image, "raw", "BGRA")
    rows.paste(image, (cursor.x, cursor.y - first), image)
    drawn = rows.convert("RGBA").tobytes("raw", "BGRA")
    return [part for part in (whole[:start], memoryview(drawn), whole[end:]) if part]


def encode_png(parts: Sequence[memoryview], width: int, height: int) -> memoryview:
    """Return a picture as PNG: red, green and blue."""
    picture, row = Image.new("RGB", (width, height)), 0
    for part in parts:
        rows = len(part) // (width * PIXEL)
        picture.paste(Image.frombytes("RGB", (width, rows), part, "raw", "BGRX"), (0, row))
        row += rows
    file = BytesIO()
    picture.save(file, "PNG", compress_level=PNG_LEVEL)
    return file.getbuffer()
