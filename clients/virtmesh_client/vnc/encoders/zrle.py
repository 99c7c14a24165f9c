"""The ZRLE encoding (RFC 6143, 7.7.6): tiles of 64 times 64 pixels, and one zlib stream.

Tiles of one colour, with a palette, and of plain pixels are sent; run lengths are left to zlib.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np

from virtmesh_client.vnc.encoders.palette import find_palette, pack_bits, to_indices
from virtmesh_client.vnc.rects import pack_rect
from virtmesh_client.vnc.spec import Encoding

if TYPE_CHECKING:
    from virtmesh_client.vnc.pixels import PixelCodec, Pixels
    from virtmesh_client.vnc.rects import Rect

TILE = 64
PALETTE_MAX = 16
"""Most colours of a packed palette."""
PLAIN, SOLID = bytes([0]), bytes([1])
"""Subencodings; 2 to 16 is the size of a palette."""


class ZrleEncoder:
    """Has the zlib stream of a viewer."""

    def __init__(self, level: int) -> None:
        self._stream = zlib.compressobj(level)

    def encode(self, rect: Rect, pixels: Pixels, codec: PixelCodec) -> list[bytes]:
        """Return the rectangle."""
        parts: list[bytes] = []
        for top in range(0, rect.height, TILE):
            for left in range(0, rect.width, TILE):
                tile = np.ascontiguousarray(pixels[top : top + TILE, left : left + TILE])
                parts += encode_tile(tile, codec)
        data = self._stream.compress(b"".join(parts)) + self._stream.flush(zlib.Z_SYNC_FLUSH)
        return [pack_rect(rect, Encoding.ZRLE, struct.pack(">I", len(data)) + data)]


def encode_tile(tile: Pixels, codec: PixelCodec) -> list[bytes]:
    """Return a tile before its compression."""
    palette = find_palette(tile, PALETTE_MAX)
    if palette is None:
        return [PLAIN, codec.pack_compact(tile)]
    if palette.size == 1:
        return [SOLID, codec.pack_compact(palette)]
    bits = 1 if palette.size == 2 else 2 if palette.size <= 4 else 4
    packed = pack_bits(to_indices(tile, palette), bits)
    return [bytes([palette.size]), codec.pack_compact(palette), packed]
