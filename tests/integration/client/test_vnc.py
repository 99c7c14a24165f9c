"""VNC on a real GPU service, while a driver draws: what a viewer sees is what a screenshot has."""

from __future__ import annotations

import struct
from random import Random
from typing import TYPE_CHECKING

import pytest

import virtmesh_client
from tests.support.drawn_screen import DrawnScreen, drawn_screen
from tests.support.gpu_rig import opaque
from tests.support.rfb_decoders import Format, Rows
from tests.support.rfb_viewer import (
    CONTINUOUS,
    CURSOR,
    CURSOR_WITH_ALPHA,
    DESKTOP_SIZE,
    EXTENDED_KEY,
    EXTENDED_SIZE,
    FENCE,
    NAME,
    RAW,
    TIGHT,
    ZRLE,
    viewing,
)
from tests.support.vnc_rig import vnc_rig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WIDTH, HEIGHT = 161, 97
REQUEST, BLOCK_BEFORE = 1 << 31, 1


@pytest.fixture
def drawn(tmp_path: Path) -> Iterator[DrawnScreen]:
    """Serve a GPU, with a driver that draws."""
    with drawn_screen(tmp_path) as drawn:
        drawn.show(WIDTH, HEIGHT, pixels(0, WIDTH * HEIGHT))
        yield drawn


def pixels(seed: int, count: int) -> bytes:
    """Return pixels, every one another."""
    return opaque(Random(seed).randbytes(4 * count))  # noqa: S311 - any bytes will do


def shown(drawn: DrawnScreen, how: Format | None = None, *, cursor: bool = False) -> Rows:
    """Return what a screenshot has, in a format."""
    used = how or Format()
    with virtmesh_client.connect(drawn.address) as machine:
        found = machine.screen("gpu0").pixels(cursor=cursor)
    words = struct.unpack(f"<{found.width * found.height}I", found.data)
    colours = [used.expected(word) for word in words]
    return [colours[at : at + found.width] for at in range(0, len(colours), found.width)]


@pytest.mark.parametrize("encoding", [RAW, ZRLE, TIGHT])
async def test_a_viewer_sees_what_is_drawn(drawn: DrawnScreen, encoding: int) -> None:
    """The whole picture, and then what changes, pixel by pixel."""
    async with vnc_rig(drawn.address) as rig, viewing(rig.address, encoding) as viewer:
        assert (viewer.width, viewer.height, viewer.name) == (WIDTH, HEIGHT, "gpu0")
        viewer.ask(whole=True)
        wanted = shown(drawn)
        await viewer.until(lambda: viewer.rows == wanted)
        for seed, (x, y, width, height) in enumerate([(0, 0, WIDTH, 3), (150, 90, 11, 7)], 1):
            drawn.draw(x, y, width, height, pixels(seed, width * height))
            wanted = shown(drawn)
            await viewer.until(lambda: viewer.rows == wanted)  # noqa: B023 - awaited at once
            assert sum(one[2] * one[3] for one in viewer.seen.rects) < WIDTH * HEIGHT


@pytest.mark.parametrize(
    "how",
    [
        Format(bits=8, depth=8, maxima=(7, 7, 3), shifts=(0, 3, 6)),
        Format(bits=16, depth=16, big=True, maxima=(31, 63, 31), shifts=(11, 5, 0)),
        Format(big=True, shifts=(0, 8, 16)),
    ],
)
async def test_any_pixel_format(drawn: DrawnScreen, how: Format) -> None:
    """Each colour is the nearest that the format has."""
    async with vnc_rig(drawn.address) as rig, viewing(rig.address, ZRLE) as viewer:
        viewer.set_format(how)
        wanted = shown(drawn, how)
        await viewer.until(lambda: viewer.rows == wanted)


async def test_a_viewer_without_true_colour(drawn: DrawnScreen) -> None:
    """It gets a map of 256 colours first."""
    how = Format(bits=8, depth=8, maxima=(7, 7, 3), shifts=(0, 3, 6))
    async with vnc_rig(drawn.address) as rig, viewing(rig.address) as viewer:
        viewer.set_format(how, true_colour=False)
        wanted = shown(drawn, how)
        await viewer.until(lambda: viewer.rows == wanted)
        assert viewer.seen.map_entries == 256


@pytest.mark.parametrize("extension", [DESKTOP_SIZE, EXTENDED_SIZE])
async def test_another_size(drawn: DrawnScreen, extension: int) -> None:
    """A viewer that takes it learns of it before the pixels."""
    async with vnc_rig(drawn.address) as rig, viewing(rig.address, ZRLE, extension) as viewer:
        await viewer.until(lambda: viewer.rows == shown(drawn))
        drawn.show(70, 200, pixels(5, 70 * 200))
        wanted = shown(drawn)
        await viewer.until(lambda: viewer.rows == wanted)
        assert (viewer.width, viewer.height) == (70, 200)


async def test_another_size_for_who_does_not_take_it(drawn: DrawnScreen) -> None:
    """The part of the picture that has room is shown; the rest is black."""
    async with vnc_rig(drawn.address) as rig, viewing(rig.address, TIGHT) as viewer:
        await viewer.until(lambda: viewer.rows == shown(drawn))
        drawn.show(200, 40, pixels(5, 200 * 40))
        wanted = [row[:WIDTH] for row in shown(drawn)]
        wanted += [[(0, 0, 0)] * WIDTH for _ in range(HEIGHT - 40)]
        await viewer.until(lambda: viewer.rows == wanted)
        drawn.show_nothing()
        await viewer.until(lambda: viewer.rows == [[(0, 0, 0)] * WIDTH] * HEIGHT)


async def test_the_cursor_in_the_picture(drawn: DrawnScreen) -> None:
    """For a viewer that does not draw it; where it was, the picture is whole again."""
    image = b"".join(bytes([x, 255 - x, 7, x * 4]) for _ in range(64) for x in range(64))
    async with vnc_rig(drawn.address) as rig, viewing(rig.address, ZRLE) as viewer:
        for x, y in ((10, 20), (150, 90)):
            drawn.show_cursor(x, y, image)
            wanted = shown(drawn, cursor=True)
            await viewer.until(lambda: near(viewer.rows, wanted))  # noqa: B023 - awaited at once


def near(rows: Rows, wanted: Rows) -> bool:
    """Say whether no colour is more than one step off: blending is rounded."""
    return all(
        abs(one - other) <= 1
        for row, other_row in zip(rows, wanted, strict=True)
        for pixel, other_pixel in zip(row, other_row, strict=True)
        for one, other in zip(pixel, other_pixel, strict=True)
    )


@pytest.mark.parametrize("kind", [CURSOR, CURSOR_WITH_ALPHA])
async def test_the_cursor_as_a_shape(drawn: DrawnScreen, kind: int) -> None:
    """It is not in the picture then; its hot spot and its pixels are those of the driver."""
    image = b"\x10\x20\x30\xff" * 32 * 64 + b"\x40\x50\x60\x00" * 32 * 64
    async with vnc_rig(drawn.address) as rig, viewing(rig.address, RAW, kind) as viewer:
        drawn.show_cursor(10, 20, image)
        await viewer.until(lambda: viewer.seen.shapes and viewer.seen.shapes[-1].size == (64, 64))
        shape = viewer.seen.shapes[-1]
        assert (shape.kind, shape.hot) == (kind, (1, 2))
        if kind == CURSOR:
            assert shape.data[-512:] == b"\xff" * 256 + b"\0" * 256
            assert shape.data[:4][:3] == b"\x10\x20\x30"
        else:
            assert shape.data == b"\x30\x20\x10\xff" * 2048 + b"\0\0\0\0" * 2048
        wanted = shown(drawn)
        await viewer.until(lambda: viewer.rows == wanted)


async def test_what_is_confirmed(drawn: DrawnScreen) -> None:
    """Key events and the name, once; fences come back, and continuous updates end when told to."""
    extensions = (EXTENDED_KEY, NAME, FENCE, CONTINUOUS)
    async with vnc_rig(drawn.address) as rig, viewing(rig.address, RAW, *extensions) as viewer:
        await viewer.until(lambda: viewer.rows == shown(drawn))
        assert [kind for kind, _ in viewer.seen.notes] == [EXTENDED_KEY, NAME]
        assert viewer.seen.names == ["gpu0"]
        assert (viewer.seen.fences, viewer.seen.ends) == ([(REQUEST, b"")], 1)
        viewer.fence(REQUEST | BLOCK_BEFORE, b"mine")
        await viewer.message()
        assert viewer.seen.fences[-1] == (BLOCK_BEFORE, b"mine")
        viewer.set_continuous(enable=True)
        for seed in range(5):
            drawn.draw(0, 0, 9, 9, pixels(seed, 81))
            wanted = shown(drawn)
            while viewer.rows != wanted:
                if not await viewer.message() and viewer.seen.fences[-1][0] & REQUEST:
                    viewer.fence(BLOCK_BEFORE, viewer.seen.fences[-1][1])
        viewer.set_continuous(enable=False)
        while viewer.seen.ends < 2:
            await viewer.message()


async def test_a_slow_viewer_gets_the_newest(drawn: DrawnScreen) -> None:
    """What is drawn while it does not ask comes as one update."""
    async with vnc_rig(drawn.address) as rig, viewing(rig.address, ZRLE) as viewer:
        await viewer.until(lambda: viewer.rows == shown(drawn))
        for seed in range(50):
            drawn.draw(16 * (seed % 9), 16, 16, 16, pixels(seed, 256))
        wanted, updates = shown(drawn), 0
        while viewer.rows != wanted:
            viewer.ask()
            await viewer.update()
            updates += 1
        assert updates < 10


async def test_an_area(drawn: DrawnScreen) -> None:
    """Only what is asked for is sent; the rest is kept until it is."""
    async with vnc_rig(drawn.address) as rig, viewing(rig.address, RAW) as viewer:
        await viewer.until(lambda: viewer.rows == shown(drawn))
        drawn.draw(0, 0, WIDTH, HEIGHT, pixels(3, WIDTH * HEIGHT))
        wanted = shown(drawn)
        while viewer.rows[5][:10] != wanted[5][:10]:
            viewer.ask(area=(3, 5, 20, 30))
            await viewer.update()
            for x, y, width, height in viewer.seen.rects:
                assert (x >= 3, y >= 5, x + width <= 23, y + height <= 35) == (True,) * 4
            viewer.rows[5][:3] = wanted[5][:3]
        await viewer.until(lambda: viewer.rows == wanted)


async def test_an_area_in_which_nothing_changes(drawn: DrawnScreen) -> None:
    """Who asks for it again waits, wherever its edges are (RFC 6143, 7.5.3)."""
    async with vnc_rig(drawn.address) as rig, viewing(rig.address, RAW) as viewer:
        await viewer.until(lambda: viewer.rows == shown(drawn))
        area = (3, 5, 20, 30)
        viewer.ask(whole=True, area=area)
        await viewer.update()
        viewer.ask(area=area)
        viewer.fence(REQUEST, b"read")
        assert not await viewer.message()
        drawn.draw(4, 6, 1, 1, pixels(9, 1))
        await viewer.update()
        assert viewer.rows == shown(drawn)
