"""Where a needle is on a picture: found where it was cut out, and nowhere else."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from virtmesh_client.screen.needle import Source, load_needle, load_needles
from virtmesh_client.screen.search import Place, places_for, search
from virtmesh_common.gpu.errors import BadNeedle

Picture = NDArray[np.uint8]


def noise(width: int, height: int, seed: int) -> Picture:
    """Return rows of RGB, every pixel another."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def png(pixels: NDArray[Any], mode: str | None = None) -> bytes:
    """Return a PNG file."""
    file = BytesIO()
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(file, "PNG")
    return file.getvalue()


def look(
    screen: Picture,
    needle: Source,
    mask: Source | None = None,
    within: tuple[int, int, int, int] | None = None,
) -> Place:
    """Look for a needle on a screen of RGB."""
    whole = (0, 0, screen.shape[1], screen.shape[0])
    one = load_needle(needle, mask)
    places = places_for(one, within or whole, whole)
    assert places is not None
    return search(np.ascontiguousarray(screen[:, :, ::-1]), one, places)


@st.composite
def cut_out(draw: st.DrawFn) -> tuple[Picture, int, int, int, int]:
    """Return a random picture, and a rectangle of it that is no other's."""
    width, height = draw(st.integers(3, 90)), draw(st.integers(3, 70))
    columns, rows = draw(st.integers(2, width)), draw(st.integers(2, height))
    x, y = draw(st.integers(0, width - columns)), draw(st.integers(0, height - rows))
    return noise(width, height, draw(st.integers(0, 2**32))), x, y, columns, rows


@settings(max_examples=60)
@given(cut=cut_out())
def test_a_needle_is_where_it_was_cut_out(cut: tuple[Picture, int, int, int, int]) -> None:
    """Exactly there, with a score of 1."""
    screen, x, y, columns, rows = cut
    needle = screen[y : y + rows, x : x + columns]
    assert look(screen, needle) == Place(x, y, 1.0)
    assert look(screen, png(needle)) == Place(x, y, 1.0)


@settings(max_examples=40)
@given(cut=cut_out(), data=st.data())
def test_what_is_masked_is_not_compared(
    cut: tuple[Picture, int, int, int, int], data: st.DataObject
) -> None:
    """Whatever stands there; by the mask, and by what is transparent."""
    screen, x, y, columns, rows = cut
    needle = screen[y : y + rows, x : x + columns].copy()
    column, row = data.draw(st.integers(0, columns - 1)), data.draw(st.integers(0, rows - 1))
    needle[row, column] ^= 0xFF
    assert look(screen, needle).score < 1
    mask = np.full((rows, columns, 3), 255, np.uint8)
    mask[row, column] = 0
    assert look(screen, needle, mask) == Place(x, y, 1.0)
    for alpha in (0, 128, 254):
        clear = np.dstack([needle, np.full((rows, columns), 255, np.uint8)])
        clear[row, column, 3] = alpha
        assert look(screen, clear) == Place(x, y, 1.0)
        assert look(screen, Image.fromarray(clear)) == Place(x, y, 1.0)


def test_the_score_is_that_of_the_differences() -> None:
    """1 for equal pixels, 0 for black instead of white, and between them the root mean square."""
    black, white = np.zeros((5, 5, 3), np.uint8), np.full((5, 5, 3), 255, np.uint8)
    assert look(black, black).score == 1
    assert look(black, white).score == 0
    one_white = black.copy()
    one_white[2, 2] = 255
    assert look(black, one_white).score == pytest.approx(1 - (1 / 25) ** 0.5)
    one_red = black.copy()
    one_red[2, 2] = (255, 0, 0)
    assert look(black, one_red).score == pytest.approx(1 - (1 / 75) ** 0.5)


def test_one_pixel_decides_on_a_large_needle() -> None:
    """What a Fourier transform does not see: one pixel that is a little darker."""
    needle = noise(200, 100, 1)
    other = needle.copy()
    other[50, 100, 1] ^= 1
    screen = np.hstack([other, np.zeros((100, 7, 3), np.uint8), needle])
    assert look(screen, needle) == Place(207, 0, 1.0)
    assert look(screen, other) == Place(0, 0, 1.0)


def test_a_needle_stays_in_its_region() -> None:
    """The better match outside of it does not count."""
    screen = noise(60, 40, 2)
    needle = screen[3:9, 2:12]
    assert look(screen, needle, within=(2, 3, 10, 6)) == Place(2, 3, 1.0)
    assert look(screen, needle, within=(3, 3, 20, 20)).score < 1


@given(data=st.data())
def test_only_places_that_touch_a_change_are_searched(data: st.DataObject) -> None:
    """And all of them."""
    needle = load_needle(noise(data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4)), 3), None)
    side = st.integers(1, 8)
    within = (data.draw(st.integers(0, 5)), data.draw(st.integers(0, 5)), data.draw(side), 6)
    changed = (data.draw(st.integers(0, 9)), data.draw(st.integers(0, 9)), data.draw(side), 3)
    width, height = needle.size
    expected = {
        (x, y)
        for x in range(within[0], within[0] + within[2] - width + 1)
        for y in range(within[1], within[1] + within[3] - height + 1)
        if x < changed[0] + changed[2]
        and x + width > changed[0]
        and y < changed[1] + changed[3]
        and y + height > changed[1]
    }
    found = places_for(needle, within, changed)
    x, y, columns, rows = found or (0, 0, 0, 0)
    assert {(a, b) for a in range(x, x + columns) for b in range(y, y + rows)} == expected


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "I;16"])
def test_every_kind_of_png(mode: str) -> None:
    """Grey, with a palette, with alpha, of 1, 8 and 16 bits: the colours that Pillow sees."""
    grey = noise(9, 7, 4)[:, :, 0]
    if mode == "I;16":
        file = png(grey.astype(np.uint16) * 257)
        colours = np.dstack([grey] * 3)
    else:
        file = png(np.dstack([grey // 64 * 64] * 3), mode)
        colours = np.asarray(Image.open(BytesIO(file)).convert("RGB"))
    screen = np.zeros((20, 20, 3), np.uint8)
    screen[5:12, 4:13] = colours
    assert look(screen, file) == Place(4, 5, 1.0)


def test_a_file_is_a_needle(tmp_path: Path) -> None:
    """Its name is that of the file; other needles are counted."""
    path = tmp_path / "login.png"
    path.write_bytes(png(noise(4, 3, 5)))
    first, second = load_needles([path, noise(5, 5, 6)])
    assert (first.name, first.size, second.name) == ("login.png", (4, 3), "needle 1")
    with pytest.raises(FileNotFoundError):
        load_needles(str(tmp_path / "nothing.png"))


HUGE = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (65536).to_bytes(4, "big") * 2 + b"\x08\x02" + bytes(20)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (b"", "is not a PNG file"),
        (b"GIF89a" + bytes(60), "is not a PNG file"),
        (png(noise(9, 9, 0))[:20], "is not a PNG file"),
        (png(noise(9, 9, 0))[:60], "can't be read: it is damaged"),
        (HUGE, "65536x65536 pixels: each side is 1 to 4095"),
        ([], "there is no needle"),
        (np.zeros((4, 4), np.uint8), r"shape \(4, 4\): give rows of RGB"),
        (np.zeros((4, 4, 3), np.float64), "an array of float64"),
        (np.zeros((0, 4, 3), np.uint8), "4x0 pixels"),
        (np.zeros((4, 4, 4), np.uint8), "no pixel to compare"),
        (7, "is a int: give a path"),
        (Image.new("L", (5000, 1)), "5000x1 pixels"),
    ],
)
def test_what_is_no_needle(source: Any, words: str) -> None:
    """It is refused by name, before anything is decoded that is too large."""
    with pytest.raises(BadNeedle, match=words):
        load_needles(source)


def test_masks_that_do_not_fit() -> None:
    """Of another size, or all black."""
    needle = noise(5, 4, 7)
    with pytest.raises(BadNeedle, match="the mask has 4x5 pixels, and needle 0 has 5x4"):
        load_needle(needle, noise(4, 5, 8))
    with pytest.raises(BadNeedle, match="no pixel to compare"):
        load_needle(needle, np.zeros((4, 5, 3), np.uint8))


def test_a_whole_screen_is_searched() -> None:
    """Of a usual size, with a needle of a usual size."""
    screen = noise(1280, 800, 9)
    assert look(screen, screen[300:350, 400:600]) == Place(400, 300, 1.0)
