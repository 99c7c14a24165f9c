"""What encoders make is decoded by the text of the standard, and is the same picture."""

from __future__ import annotations

import random
import struct
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.rfb_decoders import (
    Format,
    Rows,
    Source,
    Streams,
    decode_raw,
    decode_tight,
    decode_zrle,
)
from virtmesh_client.vnc.encoders.raw import RawEncoder
from virtmesh_client.vnc.encoders.tight import TightEncoder
from virtmesh_client.vnc.encoders.zrle import ZrleEncoder
from virtmesh_client.vnc.pixel_format import PixelFormat
from virtmesh_client.vnc.pixels import PixelCodec
from virtmesh_client.vnc.rects import Rect

if TYPE_CHECKING:
    from collections.abc import Callable

    from virtmesh_client.vnc.encoders.base import Encoder
    from virtmesh_client.vnc.pixels import Pixels

FORMATS = [
    Format(),
    Format(big=True),
    Format(shifts=(0, 8, 16)),
    Format(shifts=(24, 16, 8)),
    Format(shifts=(24, 16, 8), big=True),
    Format(depth=30, maxima=(1023, 1023, 1023), shifts=(20, 10, 0)),
    Format(depth=32),
    Format(maxima=(31, 63, 31), shifts=(11, 5, 0)),
    Format(bits=16, depth=16, maxima=(31, 63, 31), shifts=(11, 5, 0)),
    Format(bits=16, depth=15, big=True, maxima=(31, 31, 31), shifts=(10, 5, 0)),
    Format(bits=8, depth=8, maxima=(7, 7, 3), shifts=(0, 3, 6)),
    Format(bits=8, depth=3, maxima=(1, 1, 1), shifts=(2, 1, 0)),
]
ENCODERS: dict[str, Callable[[], Encoder]] = {
    "raw": RawEncoder,
    "zrle": lambda: ZrleEncoder(1),
    "tight": lambda: TightEncoder(1),
}


def codec_of(how: Format) -> PixelCodec:
    """Return the product's codec for a format, by the message of a viewer."""
    packed = struct.pack(">BBBBHHHBBB3x", how.bits, how.depth, how.big, 1, *how.maxima, *how.shifts)
    return PixelCodec(PixelFormat.unpack(packed))


def picture(seed: int, width: int, height: int, colours: int) -> list[list[int]]:
    """Return a picture of a few colours, in blocks and single pixels; 0: every pixel another."""
    dice = random.Random(seed)  # noqa: S311 - any pixels will do
    if not colours:
        return [[dice.getrandbits(24) for _ in range(width)] for _ in range(height)]
    palette = [dice.getrandbits(24) for _ in range(colours)]
    rows = [[palette[0]] * width for _ in range(height)]
    for _ in range(4 * colours):
        x, y, side = dice.randrange(width), dice.randrange(height), dice.choice((1, 3, 40))
        for row in rows[y : y + side]:
            row[x : x + side] = [dice.choice(palette)] * len(row[x : x + side])
    return rows


def to_pixels(rows: list[list[int]]) -> Pixels:
    """Return a picture as the screen has it."""
    return np.array(rows, dtype=np.uint32) | np.uint32(0xFF00_0000)


def decode(data: list[bytes], rect: Rect, how: Format, streams: Streams) -> Rows:
    """Decode the rectangles of an update; they cover a rectangle once."""
    rows: list[list[object]] = [[None] * rect.width for _ in range(rect.height)]
    for one in data:
        source = Source(one)
        x, y, width, height, kind = struct.unpack(">HHHHi", source.take(12))
        if kind == 0:
            part = decode_raw(source, width, height, how)
        elif kind == 16:
            part = decode_zrle(source, width, height, how, streams)
        else:
            assert kind == 7
            part = decode_tight(source, width, height, how, streams)
        assert source.place == len(one)
        for row in range(height):
            there = rows[y - rect.y + row]
            assert there[x - rect.x : x - rect.x + width] == [None] * width
            there[x - rect.x : x - rect.x + width] = part[row]
    assert all(None not in row for row in rows)
    return rows  # type: ignore[return-value]


@pytest.mark.parametrize("name", ENCODERS)
@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_every_encoder_keeps_every_picture(name: str, data: st.DataObject) -> None:
    """In any format and size; a second rectangle goes on with the streams of the first."""
    how = data.draw(st.sampled_from(FORMATS))
    encoder = ENCODERS[name]()
    codec, streams = codec_of(how), Streams()
    for _ in range(2):
        width, height = data.draw(st.integers(1, 140)), data.draw(st.integers(1, 80))
        colours = data.draw(st.sampled_from([0, 1, 2, 3, 4, 5, 16, 17, 64, 70]))
        rows = picture(data.draw(st.integers(0, 1 << 16)), width, height, colours)
        rect = Rect(data.draw(st.integers(0, 500)), 7, width, height)
        encoded = encoder.encode(rect, to_pixels(rows), codec)
        wanted = [[how.expected(pixel) for pixel in row] for row in rows]
        assert decode(encoded, rect, how, streams) == wanted


@pytest.mark.parametrize("name", ["zrle", "tight"])
def test_a_wide_picture(name: str) -> None:
    """A width beyond that of a Tight rectangle, of one colour, with a line of another."""
    rows = [[0x123456] * 2200 for _ in range(66)]
    rows[65][2199] = 0
    rect = Rect(0, 0, 2200, 66)
    encoded = ENCODERS[name]().encode(rect, to_pixels(rows), codec_of(FORMATS[0]))
    wanted = [[FORMATS[0].expected(pixel) for pixel in row] for row in rows]
    assert decode(encoded, rect, FORMATS[0], Streams()) == wanted
    assert sum(map(len, encoded)) < 10_000


def test_jpeg_is_near_the_picture() -> None:
    """For a viewer with a quality level; few colours stay as they are."""
    encoder = TightEncoder(1)
    encoder.quality = 9
    smooth = [[(x * 2) << 16 | (y * 4) << 8 | (x + y) for x in range(64)] for y in range(64)]
    flat = [[0xFF0000 if x & 1 else 0x0000FF for x in range(64)] for y in range(64)]
    codec, how, rect = codec_of(FORMATS[0]), FORMATS[0], Rect(0, 0, 64, 64)
    encoded = encoder.encode(rect, to_pixels(smooth), codec)
    assert encoded[0][12] == 0x90
    for ours, theirs in zip(decode(encoded, rect, how, Streams()), smooth, strict=True):
        for seen, pixel in zip(ours, theirs, strict=True):
            wanted = how.expected(pixel)
            assert max(abs(a - b) for a, b in zip(seen, wanted, strict=True)) < 16
    encoded = encoder.encode(rect, to_pixels(flat), codec)
    wanted_rows = [[how.expected(pixel) for pixel in row] for row in flat]
    assert decode(encoded, rect, how, Streams()) == wanted_rows
