"""Fonts of the Linux console."""

from __future__ import annotations

import struct

import pytest

from virtmesh.kernel.vt.font import FILE, MISSING, console_font, parse
from virtmesh.testing.screen_text import glyphs

ASCII = "".join(map(chr, range(32, 127)))


def test_the_font_has_what_people_write() -> None:
    """ASCII, Latin-1 and boxes; each printable ASCII character has a glyph of its own."""
    font = console_font()
    assert font.height == 16
    assert {len(one) for one in font.bitmaps.values()} == {16}
    latin = "".join(map(chr, range(0xA1, 0x100)))
    assert not [one for one in f"{ASCII}{latin}\u2500\u2502\u2588\u20ac" if one not in font.bitmaps]
    assert len({font.bitmap(one) for one in ASCII}) == len(ASCII)
    assert font.bitmap("\u4e2d") == font.bitmap(MISSING)
    assert set(glyphs().values()) >= set(ASCII)


def test_sequences_are_left_out() -> None:
    """A bitmap that also stands for a character with marks."""
    table = struct.pack("<5H", 0x41, 0xFFFE, 0x42, 0x301, 0xFFFF) + struct.pack(
        "<2H", 0xFFFD, 0xFFFF
    )
    data = b"\x36\x04\x02\x02" + bytes(range(2 * 256 % 256)) + bytes(2 * 256) + table
    assert set(parse(data).bitmaps) == {"A", MISSING}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x36\x04\x02",
        b"\x72\xb5\x4a\x86" + bytes(100),
        b"\x36\x04\x00\x10" + bytes(256 * 16),
        b"\x36\x04\x02\x00",
        b"\x36\x04\x02\x10" + bytes(256 * 16),
        FILE.read_bytes()[:5000],
    ],
)
def test_what_is_no_font(data: bytes) -> None:
    """It is refused."""
    with pytest.raises(ValueError, match="font"):
        parse(data)
