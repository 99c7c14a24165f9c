"""Cells in the framebuffer of a real GPU model, and a pointer on it."""

from __future__ import annotations

import asyncio

import pytest

from tests.unit.gpu.test_driver import driving, shown
from virtmesh.gpu.driver import VirtIOGpu
from virtmesh.gpu.model import GpuModel, GpuOptions
from virtmesh.gpu.settings import Mode
from virtmesh.input.info import AbsInfo
from virtmesh.kernel.vt.grid import Grid
from virtmesh.kernel.vt.painter import Painter
from virtmesh.kernel.vt.pointer import (
    ABSOLUTE,
    EV_ABS,
    EV_REL,
    RELATIVE,
    Pointer,
    arrow_image,
    scale,
)
from virtmesh.testing.screen_text import UNKNOWN, read_screen
from virtmesh_common.gpu.spec import CURSOR_SIDE

RAM = 8 << 20


def gpu(width: int = 164, height: int = 56) -> GpuModel:
    """Make a GPU whose screen has room for 20 by 3 cells, and a bit."""
    return GpuModel("gpu0", GpuOptions(mode=Mode(width, height)))


async def test_text_is_read_as_it_was_written() -> None:
    """In cells, with the cursor in reverse, and nothing beside them."""
    model = gpu()
    async with driving(model, ram=RAM) as driver:
        painter = Painter(Grid())
        painter.grid.feed("Gr\u00fc\u00dfe, {world}\r\n\u2500\u2502 \u4e2d|")
        await painter.paint(driver)
        width, height, pixels = shown(model)
        assert read_screen(width, height, pixels) == [
            "Gr\u00fc\u00dfe, {world}",
            f"\u2500\u2502 {UNKNOWN} |",
            "",
        ]
        beside = [pixels[y * width * 4 + 160 * 4 : (y + 1) * width * 4] for y in range(height)]
        assert set(b"".join(beside)) == {0, 255}
        assert not any(b"".join(beside)[0::4])


async def test_only_changed_cells_are_flushed(monkeypatch: pytest.MonkeyPatch) -> None:
    """One rectangle for all of them; none where nothing has changed."""
    model, flushed = gpu(), list[tuple[int, ...]]()
    async with driving(model, ram=RAM) as driver:
        real = VirtIOGpu.flush

        async def flush(self: VirtIOGpu, *rect: int) -> None:
            flushed.append(rect)
            await real(self, *rect)

        monkeypatch.setattr(VirtIOGpu, "flush", flush)
        grid = Grid()
        painter = Painter(grid)
        for text in ("ab", "", "c", "\r\n\r\nx", "\x1b[H"):
            grid.feed(text)
            await painter.paint(driver)
            assert read_screen(*shown(model)) == grid.text
        assert flushed == [(), (16, 0, 16, 16), (0, 0, 32, 48), (0, 0, 16, 48)]


async def test_a_large_screen_is_drawn_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written between them is drawn as well, in the same call or in the next."""
    monkeypatch.setattr("virtmesh.kernel.vt.painter.CELLS_AT_ONCE", 1)
    model = gpu()
    async with driving(model, ram=RAM) as driver:
        grid = Grid()
        painter = Painter(grid)
        grid.feed("one\r\ntwo\r\nthree")
        painting = asyncio.create_task(painter.paint(driver))
        await asyncio.sleep(0)  # It has made the screen black,
        await asyncio.sleep(0)  # and drawn a row.
        assert 0 < painter.cells_drawn <= grid.columns
        grid.feed("\x1b[HONE\r\nTWO")
        await painting
        await painter.paint(driver)
        assert read_screen(*shown(model)) == ["ONE", "TWO", "three"] == grid.text


async def test_a_large_screen_is_made_black_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others have their turn between them, and may have changed the mode or drawn by then."""
    monkeypatch.setattr("virtmesh.gpu.gpu_device.BAND_BYTES", 4096)
    model = gpu()
    async with driving(model, ram=RAM) as driver:
        painter = Painter(Grid())
        painter.grid.feed("text")
        view = driver.get_framebuffer()
        for interrupt in (False, True):
            view[:] = b"\xff" * len(view)
            painter.forget()
            painting = asyncio.create_task(painter.paint(driver))
            await asyncio.sleep(0)
            assert not any(view[:4096])
            assert all(view[4096:])
            if interrupt:
                painter.forget()
            await painting
            assert all(view[-4096:]) is interrupt
        await painter.paint(driver)
        assert read_screen(*shown(model)) == ["text", "", ""]
        assert not any(view[-4096:])


async def test_a_pointer_is_drawn_and_moved() -> None:
    """Its picture is sent once."""
    model = gpu()
    async with driving(model, ram=RAM) as driver:
        pointer = Pointer()
        pointer.fit(driver.resolution)
        await pointer.place(driver)
        assert not model.scanouts[0].cursor.image
        pointer.appear()
        await pointer.place(driver)
        cursor = model.scanouts[0].cursor
        assert (cursor.x, cursor.y, cursor.image) == (82, 28, arrow_image())
        pointer.take(EV_REL, RELATIVE[0], -3, {})
        pointer.take(EV_REL, RELATIVE[1], 4, {})
        pointer.take(EV_REL, 8, 100, {})
        transfers = driver.requests
        await pointer.place(driver)
        await pointer.place(driver)
        assert driver.requests == transfers + 1
        assert (model.scanouts[0].cursor.x, model.scanouts[0].cursor.y) == (79, 32)


@pytest.mark.parametrize(
    ("value", "axis", "pixel"),
    [
        (0, (0, 32767), 0),
        (32767, (0, 32767), 99),
        (16384, (0, 32767), 50),
        (-100, (-100, 100), 0),
        (100, (-100, 100), 99),
        (5, (7, 7), 0),
        (5, (7, 3), 0),
    ],
)
def test_axes_are_scaled(value: int, axis: tuple[int, int], pixel: int) -> None:
    """From the minimum, the first pixel, to the maximum, the last one; whatever a device says."""
    assert scale(value, AbsInfo(*axis, 0, 0, 0), 100) == pixel


def test_a_pointer_stays_on_the_screen() -> None:
    """Where an axis lies, and where a mouse runs away."""
    pointer = Pointer()
    pointer.fit((100, 50))
    pointer.appear()
    axes = {ABSOLUTE[0]: AbsInfo(0, 10, 0, 0, 0)}
    pointer.take(EV_ABS, ABSOLUTE[0], 2**31 - 1, axes)
    assert pointer.position == (99, 25)
    pointer.take(EV_ABS, ABSOLUTE[1], 7, axes)
    pointer.take(EV_REL, RELATIVE[1], -(2**31), axes)
    assert pointer.position == (99, 0)
    pointer.fit((20, 10))
    assert pointer.position == (19, 0)


def test_the_arrow_points_with_its_corner() -> None:
    """Its first pixel is black, and most of the image is nothing."""
    image = arrow_image()
    assert len(image) == CURSOR_SIDE * CURSOR_SIDE * 4
    assert image[:4] == b"\0\0\0\xff"
    assert image[3::4].count(0) > len(image) // 4 * 0.9
