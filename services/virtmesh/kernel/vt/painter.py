"""Draws cells of text in the framebuffer of a GPU: those that have changed, and only those.

What the framebuffer shows is remembered, cell by cell. So a painter that is called late draws the
newest text once, whatever was there in between.
"""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import TYPE_CHECKING

from virtmesh.gpu.gpu_device import blacken
from virtmesh.kernel.vt.font import WIDTH, Font, console_font
from virtmesh.kernel.vt.grid import BLANK

if TYPE_CHECKING:
    from collections.abc import Sequence

    from virtmesh.gpu.gpu_device import GpuDevice
    from virtmesh.kernel.vt.grid import Grid

PIXEL = 4
PAPER, INK = b"\0\0\0\0", b"\xaa\xaa\xaa\0"
"""Pixels of the ground and of the text: black, and the light grey of text modes."""
CELLS_AT_ONCE = 2048
"""Cells that are drawn before other tasks have their turn: about a millisecond."""
GLYPHS_KEPT = 2048
"""Glyphs that are kept as pixels: 512 bytes each, and twice for the cursor."""
CURSOR = "\x1b"
"""Before a character: the cursor is on it. No cell holds this one."""


class Painter:
    """Shows a grid. The cursor is a cell in reverse."""

    def __init__(self, grid: Grid, font: Font | None = None) -> None:
        self.grid = grid
        self.font = font or console_font()
        self.cells_drawn = 0
        self._size = (0, 0)
        self._shown: list[list[str]] = []

    def forget(self) -> None:
        """Draw everything next time: the framebuffer is another, or someone else drew in it."""
        self._size = (0, 0)

    async def paint(self, gpu: GpuDevice) -> None:
        """Draw what has changed, and flush it.

        A screen that is smaller than a cell shows nothing.
        Errors: those of `GpuDevice.flush`.
        """
        size = gpu.resolution
        if size[0] < WIDTH or size[1] < self.font.height:
            self.forget()
            return
        whole = size != self._size
        if whole:
            await self._lay_out(gpu, size)
        if gpu.resolution != size or self._size != size:
            return  # the mode has changed meanwhile: there will be another call
        damage: list[tuple[int, int, int]] = []
        drawn = 0
        for y in range(self.grid.rows):
            wanted, shown = self._wanted(y), self._shown[y]
            if wanted == shown:
                continue
            differing = [x for x, one in enumerate(wanted) if one != shown[x]]
            changed = differing[0], differing[-1] + 1
            if gpu.resolution != size or self._size != size:
                return  # the mode has changed meanwhile: there will be another call
            self._draw(gpu.get_framebuffer(), y, *changed)
            damage.append((y, *changed))
            drawn += changed[1] - changed[0]
            if drawn >= CELLS_AT_ONCE:
                self.cells_drawn, drawn = self.cells_drawn + drawn, 0
                await asyncio.sleep(0)
        self.cells_drawn += drawn
        if whole:
            await gpu.flush()
        elif damage:
            await gpu.flush(*self._rectangle(damage))

    async def _lay_out(self, gpu: GpuDevice, size: tuple[int, int]) -> None:
        """Fit the grid to a framebuffer, and make that black.

        If the mode changes meanwhile, nothing of it counts: there will be another call.
        """
        columns, rows = size[0] // WIDTH, size[1] // self.font.height
        if (columns, rows) != (self.grid.columns, self.grid.rows):
            self.grid.resize(columns, rows)
        self._size = size
        self._shown = [[BLANK] * columns for _ in range(rows)]

        def find() -> memoryview:
            same = gpu.resolution == size == self._size
            return gpu.get_framebuffer() if same else memoryview(b"")

        await blacken(find)

    def _wanted(self, y: int) -> list[str]:
        """Return what the cells of a row are to show."""
        row = self.grid.cells[y]
        if y != self.grid.y:
            return row
        x = self.grid.x
        return [*row[:x], f"{CURSOR}{row[x]}", *row[x + 1 :]]

    def _draw(self, view: memoryview, y: int, start: int, stop: int) -> None:
        """Draw cells of a row."""
        cells = self._wanted(y)[start:stop]
        glyphs = [
            glyph(self.font.bitmap(one.removeprefix(CURSOR) or BLANK), one[:1] == CURSOR)
            for one in cells
        ]
        stride = self._size[0] * PIXEL
        place = y * self.font.height * stride + start * WIDTH * PIXEL
        size = (stop - start) * WIDTH * PIXEL
        for line in zip(*glyphs, strict=True):
            view[place : place + size] = b"".join(line)
            place += stride
        self._shown[y][start:stop] = cells

    def _rectangle(self, damage: Sequence[tuple[int, int, int]]) -> tuple[int, int, int, int]:
        """Return what holds all damage, in pixels."""
        top, bottom = damage[0][0], damage[-1][0] + 1
        left, right = min(one[1] for one in damage), max(one[2] for one in damage)
        height = self.font.height
        return left * WIDTH, top * height, (right - left) * WIDTH, (bottom - top) * height


@lru_cache(maxsize=GLYPHS_KEPT)
def glyph(bitmap: bytes, reverse: bool) -> tuple[bytes, ...]:  # noqa: FBT001 - it is the value
    """Return the rows of a bitmap as pixels."""
    ink, paper = (PAPER, INK) if reverse else (INK, PAPER)
    return tuple(
        b"".join(ink if row >> (WIDTH - 1 - x) & 1 else paper for x in range(WIDTH))
        for row in bitmap
    )
