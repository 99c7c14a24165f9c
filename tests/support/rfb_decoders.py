"""Decoders of RFB pixels, as plain as the text of RFC 6143 and of the registry: no numpy.

A picture is a list of rows of (red, green, blue), each as the value in the format of the pixels.
"""

from __future__ import annotations

import io
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable

Colour = tuple[int, int, int]
Rows = list[list[Colour]]


@dataclass(frozen=True)
class Format:
    """PIXEL_FORMAT (RFC 6143, 7.4)."""

    bits: int = 32
    depth: int = 24
    big: bool = False
    maxima: Colour = (255, 255, 255)
    shifts: Colour = (16, 8, 0)

    @property
    def size(self) -> int:
        """Bytes of a PIXEL."""
        return self.bits // 8

    def colour(self, data: bytes) -> Colour:
        """Read a PIXEL."""
        value = int.from_bytes(data, "big" if self.big else "little")
        red, green, blue = (
            (value >> shift) & maximum
            for maximum, shift in zip(self.maxima, self.shifts, strict=True)
        )
        return red, green, blue

    def expected(self, pixel: int) -> Colour:
        """Return what a pixel of the screen is in this format: the nearest value of each colour."""
        parts = (pixel >> 16 & 255, pixel >> 8 & 255, pixel & 255)
        red, green, blue = (
            (part * maximum * 2 + 255) // 510
            for part, maximum in zip(parts, self.maxima, strict=True)
        )
        return red, green, blue

    @property
    def compact(self) -> tuple[int, Callable[[bytes], bytes]]:
        """Size of a CPIXEL, and how it becomes a PIXEL (7.7.5)."""
        used = 0
        for maximum, shift in zip(self.maxima, self.shifts, strict=True):
            used |= maximum << shift
        if self.bits != 32 or self.depth > 24:
            return self.size, bytes
        if used < 1 << 24:
            return 3, (lambda data: b"\0" + data) if self.big else (lambda data: data + b"\0")
        if used & 0xFF == 0:
            return 3, (lambda data: data + b"\0") if self.big else (lambda data: b"\0" + data)
        return self.size, bytes

    @property
    def has_rgb(self) -> bool:
        """True if a TPIXEL is red, green and blue."""
        return self.bits == 32 and self.depth == 24 and self.maxima == (255, 255, 255)


class Source:
    """Bytes that are read one after the other."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.place = 0

    def take(self, size: int) -> bytes:
        """Return the next bytes; all of them must be there."""
        part = self.data[self.place : self.place + size]
        assert len(part) == size
        self.place += size
        return part

    def number(self, size: int = 1) -> int:
        """Return the next number, the highest byte first."""
        return int.from_bytes(self.take(size), "big")


@dataclass
class Streams:
    """The zlib streams of a connection."""

    zrle: zlib._Decompress = field(default_factory=zlib.decompressobj)
    tight: list[zlib._Decompress] = field(
        default_factory=lambda: [zlib.decompressobj() for _ in range(4)]
    )


def decode_raw(source: Source, width: int, height: int, how: Format) -> Rows:
    """Decode Raw (7.7.1)."""
    return [[how.colour(source.take(how.size)) for _ in range(width)] for _ in range(height)]


def decode_zrle(source: Source, width: int, height: int, how: Format, streams: Streams) -> Rows:
    """Decode ZRLE (7.7.6)."""
    inner = Source(streams.zrle.decompress(source.take(source.number(4))))
    rows: Rows = [[(0, 0, 0)] * width for _ in range(height)]
    for top in range(0, height, 64):
        for left in range(0, width, 64):
            wide, high = min(64, width - left), min(64, height - top)
            tile = decode_tile(inner, wide, high, how)
            for y in range(high):
                rows[top + y][left : left + wide] = tile[y]
    assert inner.place == len(inner.data)
    return rows


def decode_tile(source: Source, width: int, height: int, how: Format) -> Rows:
    """Decode a tile of TRLE (7.7.5)."""
    size, widen = how.compact

    def pixel() -> Colour:
        return how.colour(widen(source.take(size)))

    kind = source.number()
    if kind == 0:
        return [[pixel() for _ in range(width)] for _ in range(height)]
    if kind == 1:
        return [[pixel()] * width] * height
    assert 2 <= kind <= 16
    palette = [pixel() for _ in range(kind)]
    bits = 1 if kind == 2 else 2 if kind <= 4 else 4
    return unpack(source, width, height, bits, palette)


def unpack(source: Source, width: int, height: int, bits: int, palette: list[Colour]) -> Rows:
    """Read packed indices; each row begins with a byte of its own."""
    rows: Rows = []
    for _ in range(height):
        text = "".join(f"{byte:08b}" for byte in source.take((width * bits + 7) // 8))
        numbers = [int(text[at : at + bits], 2) for at in range(0, width * bits, bits)]
        rows.append([palette[number] for number in numbers])
    return rows


def decode_tight(source: Source, width: int, height: int, how: Format, streams: Streams) -> Rows:
    """Decode Tight (registry)."""
    assert width <= 2048
    size = 3 if how.has_rgb else how.size

    def pixel(data: bytes) -> Colour:
        return (data[0], data[1], data[2]) if how.has_rgb else how.colour(data)

    control = source.number()
    for number in range(4):
        if control >> number & 1:
            streams.tight[number] = zlib.decompressobj()
    kind = control >> 4
    if kind == 8:
        return [[pixel(source.take(size))] * width] * height
    if kind == 9:
        return decode_jpeg(source.take(length(source)), width, height)
    assert kind < 8
    stream = streams.tight[kind & 3]
    chosen = source.number() if kind & 4 else 0
    if chosen == 0:
        inner = Source(inflate(source, width * height * size, stream))
        return [[pixel(inner.take(size)) for _ in range(width)] for _ in range(height)]
    assert chosen == 1
    palette = [pixel(source.take(size)) for _ in range(source.number() + 1)]
    bits = 1 if len(palette) == 2 else 8
    packed = (width * bits + 7) // 8 * height
    return unpack(Source(inflate(source, packed, stream)), width, height, bits, palette)


def inflate(source: Source, size: int, stream: zlib._Decompress) -> bytes:
    """Return so many bytes of a stream; fewer than 12 are sent as they are."""
    if size < 12:
        return source.take(size)
    data = stream.decompress(source.take(length(source)))
    assert len(data) == size
    return data


def length(source: Source) -> int:
    """Read a length of 1 to 3 bytes."""
    found = 0
    for shift in (0, 7, 14):
        byte = source.number()
        found |= (byte if shift == 14 else byte & 0x7F) << shift
        if not byte & 0x80:
            break
    return found


def decode_jpeg(data: bytes, width: int, height: int) -> Rows:
    """Decode a JPEG file."""
    with Image.open(io.BytesIO(data)) as image:
        assert (image.format, image.size) == ("JPEG", (width, height))
        flat = image.convert("RGB").tobytes()
    pixels = [(flat[at], flat[at + 1], flat[at + 2]) for at in range(0, len(flat), 3)]
    return [pixels[at : at + width] for at in range(0, len(pixels), width)]
