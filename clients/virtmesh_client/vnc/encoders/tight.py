"""The Tight encoding of the registry: fills, palettes, plain pixels, and JPEG for who wants it."""

from __future__ import annotations

import io
import zlib
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from virtmesh_client.vnc.encoders.palette import find_palette, pack_bits, to_indices
from virtmesh_client.vnc.rects import Rect, pack_rect
from virtmesh_client.vnc.spec import Encoding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from virtmesh_client.vnc.pixels import PixelCodec, Pixels

BAND = 64
"""Height of a rectangle, and width of what is looked at for one colour."""
WIDTH_MAX = 256
"""Widest rectangle, but for fills: its palette is of its own. The encoding allows 2048."""
FILL_MAX = 2048
FILL, JPEG, FILTER = 0x80, 0x90, 0x40
"""Bits of the control byte."""
PALETTE_FILTER = 1
PLAIN_STREAM, MONO_STREAM, PALETTE_STREAM = 0, 1, 2
"""Which zlib stream has what; plain pixels are no filter's."""
PALETTE_MAX = 64
"""Most colours of a palette. 256 are allowed; plain pixels are packed faster."""
COMPRESSED_MIN = 12
"""Fewer bytes are sent as they are, and without their length."""
JPEG_QUALITIES = (15, 29, 41, 42, 62, 77, 79, 86, 92, 100)
"""The quality, of 100, for each level that a viewer can wish for."""
JPEG_SIDE_MIN = 8


class TightEncoder:
    """Has the zlib streams of a viewer. `quality` is its level for JPEG, 0 to 9; None: no JPEG."""

    def __init__(self, level: int) -> None:
        self.quality: int | None = None
        self._streams = [zlib.compressobj(level) for _ in range(3)]

    def encode(self, rect: Rect, pixels: Pixels, codec: PixelCodec) -> list[bytes]:
        """Return the rectangles."""
        found: list[bytes] = []
        for top in range(0, rect.height, BAND):
            band = np.ascontiguousarray(pixels[top : top + BAND])
            for left, width, is_fill in split_band(band):
                part = np.ascontiguousarray(band[:, left : left + width])
                place = Rect(rect.x + left, rect.y + top, width, part.shape[0])
                if is_fill:
                    payload = bytes([FILL]) + codec.pack_tight(part[:1, :1])
                else:
                    payload = self._encode_part(part, codec)
                found.append(pack_rect(place, Encoding.TIGHT, payload))
        return found

    def _encode_part(self, part: Pixels, codec: PixelCodec) -> bytes:
        """Return the payload of a rectangle with several colours."""
        palette = find_palette(part, PALETTE_MAX if codec.bits > 8 else 2)
        if palette is None:
            if self.quality is not None and codec.bits > 8 and min(part.shape) >= JPEG_SIDE_MIN:
                data = to_jpeg(part, JPEG_QUALITIES[self.quality])
                return bytes([JPEG]) + pack_length(len(data)) + data
            plain = codec.pack_tight(part)
            return bytes([PLAIN_STREAM << 4]) + self._compress(PLAIN_STREAM, plain)
        if palette.size == 1:
            return bytes([FILL]) + codec.pack_tight(palette)
        stream, bits = (MONO_STREAM, 1) if palette.size == 2 else (PALETTE_STREAM, 8)
        packed = pack_bits(to_indices(part, palette), bits)
        head = bytes([stream << 4 | FILTER, PALETTE_FILTER, palette.size - 1])
        return head + codec.pack_tight(palette) + self._compress(stream, packed)

    def _compress(self, number: int, data: bytes) -> bytes:
        """Return data as a stream has it."""
        if len(data) < COMPRESSED_MIN:
            return data
        stream = self._streams[number]
        packed = stream.compress(data) + stream.flush(zlib.Z_SYNC_FLUSH)
        return pack_length(len(packed)) + packed


def split_band(band: Pixels) -> Iterator[tuple[int, int, bool]]:
    """Split a band of rows: yield first column, width, and whether it has one colour only."""
    width = band.shape[1]
    starts = np.arange(0, width, BAND)
    # A column of one colour is equal to its first pixel; a block is one if its columns are.
    columns = (band == band[0]).all(axis=0) & (band[0] == np.repeat(band[0, starts], BAND)[:width])
    solid = np.logical_and.reduceat(columns, starts).tolist()
    colours = band[0, starts].tolist()
    first = 0
    for number in range(1, len(starts) + 1):
        going_on = number < len(starts) and solid[number] == solid[first]
        if going_on and solid[first]:
            going_on = colours[number] == colours[first] and (number - first) * BAND < FILL_MAX
        elif going_on:
            going_on = (number - first) * BAND < WIDTH_MAX
        if not going_on:
            left = first * BAND
            yield left, min(width, number * BAND) - left, solid[first]
            first = number


def pack_length(length: int) -> bytes:
    """Return a length in 1 to 3 bytes, 7 bits in each but the last."""
    if length < 1 << 7:
        return bytes([length])
    if length < 1 << 14:
        return bytes([length & 0x7F | 0x80, length >> 7])
    return bytes([length & 0x7F | 0x80, length >> 7 & 0x7F | 0x80, length >> 14])


def to_jpeg(pixels: Pixels, quality: int) -> bytes:
    """Return pixels as a JPEG file."""
    height, width = pixels.shape
    image = Image.frombytes("RGB", (width, height), pixels.tobytes(), "raw", "BGRX")
    file = io.BytesIO()
    image.save(file, "jpeg", quality=quality)
    return file.getvalue()
