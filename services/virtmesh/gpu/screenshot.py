"""Pictures as files."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

from PIL import Image

from virtmesh_common.gpu.spec import CURSOR_SIDE

if TYPE_CHECKING:
    from virtmesh.gpu.scanout import Cursor

PNG_LEVEL = 1
"""Compression of zlib: screens are mostly flat, and higher levels save little and take long."""


def draw_cursor(pixels: bytes, width: int, height: int, cursor: Cursor) -> bytes:
    """Draw a cursor into a picture. Both have blue, green, red and a fourth byte.

    The driver gives the place of the top left corner of the image (5.7.6.10). Part of it may be
    outside, or all.
    """
    if not (-CURSOR_SIDE < cursor.x < width and -CURSOR_SIDE < cursor.y < height):
        return pixels
    picture = Image.frombytes("RGB", (width, height), pixels, "raw", "BGRX")
    image = Image.frombytes("RGBA", (CURSOR_SIDE,) * 2, cursor.image, "raw", "BGRA")
    picture.paste(image, (cursor.x, cursor.y), image)
    return picture.convert("RGBA").tobytes("raw", "BGRA")


def encode_png(pixels: bytes, width: int, height: int) -> bytes:
    """Return a picture as PNG: red, green and blue."""
    file = BytesIO()
    Image.frombytes("RGB", (width, height), pixels, "raw", "BGRX").save(
        file, "PNG", compress_level=PNG_LEVEL
    )
    return file.getvalue()
