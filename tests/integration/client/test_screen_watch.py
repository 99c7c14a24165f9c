"""Watching a real GPU service through the library, while a driver draws."""

from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING

import pytest

import virtmesh_client
from tests.support.drawn_screen import DrawnScreen, drawn_screen
from tests.support.gpu_rig import opaque
from virtmesh_client.screen.update import Picture
from virtmesh_common.gpu.errors import NoSuchScanout

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECONDS = 30.0
WIDTH, HEIGHT = 1280, 800
RECTS = [(0, 0, WIDTH, 7), (3, 5, 11, 13), (WIDTH - 1, HEIGHT - 1, 1, 1), (0, 100, WIDTH, 700)]


@pytest.fixture
def drawn(tmp_path: Path) -> Iterator[DrawnScreen]:
    """Serve a GPU, with a driver that draws."""
    with drawn_screen(tmp_path) as drawn:
        yield drawn


def pixels(seed: int, count: int) -> bytes:
    """Return pixels, every one another."""
    return opaque(Random(seed).randbytes(4 * count))  # noqa: S311 - any bytes will do


def test_a_watch_follows_the_driver(drawn: DrawnScreen) -> None:
    """The picture of the updates is the one of a screenshot, byte by byte, after each flush."""
    drawn.show(WIDTH, HEIGHT, pixels(0, WIDTH * HEIGHT))
    with virtmesh_client.connect(drawn.address) as machine:
        screen = machine.screen("gpu0")
        picture = Picture()
        with screen.watch() as updates:
            first = next(updates)
            picture.apply(first)
            assert (first.width, first.height, first.is_new) == (WIDTH, HEIGHT, True)
            for seed, (x, y, width, height) in enumerate(RECTS, 1):
                drawn.draw(x, y, width, height, pixels(seed, width * height))
                update = next(updates)
                picture.apply(update)
                assert (update.flushes, update.pixel_bytes) == (1, width * height * 4)
                assert picture.data == screen.pixels().data
            drawn.show_cursor(4, 5, b"\x11" * 64 * 64 * 4)
            cursor = next(updates).cursor
            assert cursor is not None
            assert (cursor.visible, cursor.x, cursor.y) == (True, 4, 5)
            drawn.show(16, 16, pixels(9, 256))
            picture.apply(next(updates))
            assert picture.data == pixels(9, 256)
            drawn.show_nothing()
            update = next(updates)
            assert (update.width, update.is_new, update.changes) == (0, True, ())


def test_an_unknown_scanout(drawn: DrawnScreen) -> None:
    """The error comes with the first update."""
    with (
        virtmesh_client.connect(drawn.address) as machine,
        machine.screen("gpu0").watch(5) as updates,
        pytest.raises(NoSuchScanout),
    ):
        next(updates)


async def test_two_watch_with_asyncio(drawn: DrawnScreen) -> None:
    """Both have the same picture in the end, and none is left when they are closed."""
    await asyncio.to_thread(drawn.show, 64, 48, pixels(1, 64 * 48))
    async with await virtmesh_client.aconnect(drawn.address) as machine:
        screen = machine.screen("gpu0")
        async with screen.watch() as one, screen.watch(updates_per_second=50) as other:
            pictures = [Picture(), Picture()]
            for picture, updates in zip(pictures, (one, other), strict=True):
                picture.apply(await anext(updates))
            flushes = [0, 0]
            for seed in range(20):
                await asyncio.to_thread(drawn.draw, seed, seed, 9, 9, pixels(seed, 81))
            for index, updates in enumerate((one, other)):
                while flushes[index] < 20:
                    update = await anext(updates)
                    pictures[index].apply(update)
                    flushes[index] += update.flushes
            assert pictures[0].data == pictures[1].data == (await screen.pixels()).data
        while (await screen.stats())[0].watchers:
            pass  # Each look is a call.
