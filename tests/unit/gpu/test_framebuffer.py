"""Framebuffers: slices that outlive them, and what was drawn on a GPU that is lost."""

from __future__ import annotations

import itertools

import pytest

from tests.support.gpu_rig import opaque
from tests.unit.gpu.test_driver import driving, gpu, shown, until_shown
from virtmesh.attach.guest_ram import Ram
from virtmesh.gpu.framebuffer import Framebuffer
from virtmesh.gpu.settings import Mode

STALE, DRAWN = b"\xee" * 4, b"\x11\x22\x33\x00"


async def test_a_slice_of_a_framebuffer_of_another_mode() -> None:
    """What is written to it is on no later framebuffer, and in no memory of anyone else."""
    model = gpu()
    async with driving(model) as driver:
        view = driver.get_framebuffer()
        stale = view[: 40 * 40 * 4]
        for side in (40, 41, 42, 40):
            model.set_mode(0, Mode(side, side))
            await until_shown(model, (side, side), driver)
            stale[:] = STALE * (40 * 40)
            await driver.flush()
            assert shown(model) == (side, side, opaque(bytes(side * side * 4)))
        image = bytes(range(256)) * 64
        await driver.update_cursor(image, 0, 0)
        stale[:] = STALE * (40 * 40)
        await driver.update_cursor(image, 0, 0)
        assert model.scanouts[0].cursor.image == image
        with pytest.raises(ValueError, match="released"):
            view[0] = 1


async def test_pages_come_back_when_the_last_slice_is_gone() -> None:
    """Until then they are nobody's."""
    with Ram(1 << 20) as ram:
        free = ram.pages.free_bytes
        buffer = Framebuffer(ram, 64, 64)
        first, second = buffer.view[:4], buffer.view[4:8]
        assert not buffer.drop()
        first.release()
        assert not buffer.drop()
        assert ram.pages.free_bytes < free
        second.release()
        assert buffer.drop()
        assert ram.pages.free_bytes == free


async def test_a_mode_that_has_no_room_because_of_a_slice() -> None:
    """The driver gives up, and is started again with memory of its own."""
    model = gpu()
    async with driving(model, ram=256 << 10) as driver:
        slices = []
        with model.scanouts[0].watching() as watcher:
            for side in itertools.count(65):
                slices.append(driver.get_framebuffer()[:4])
                model.set_mode(0, Mode(side, side))
                driver.failed.add_done_callback(lambda _: watcher.news.set())
                await watcher.news.wait()
                watcher.news.clear()
                if driver.failed.done():
                    break
        assert "guest RAM has no" in driver.failed.result().message
    for one in slices:
        one[:] = STALE[: len(one)]


async def test_what_was_drawn_is_shown_by_the_next_process() -> None:
    """With the cursor; in another mode, what fits."""
    image = bytes(range(256)) * 64
    for mode in (Mode(64, 48), Mode(32, 100)):
        before, after = gpu(), gpu()
        after.set_mode(0, mode)
        async with driving(before) as driver:
            driver.get_framebuffer()[:] = DRAWN * (64 * 48)
            await driver.update_cursor(image, 1, 2, 3, 4)
            await driver.move_cursor(5, 6)
            kept = driver.keep()
        async with driving(after, kept=kept) as driver:
            width, height, pixels = shown(after)
            assert (width, height) == (mode.width, mode.height)
            fits = DRAWN * min(64, width) + bytes(4) * max(width - 64, 0)
            row, rest = opaque(fits), max(height - 48, 0)
            assert pixels == row * min(48, height) + opaque(bytes(width * 4)) * rest
            cursor = after.scanouts[0].cursor
            assert (cursor.x, cursor.y, cursor.image) == (5, 6, image)
            assert driver.keep() is not kept
            assert driver.keep() is None
