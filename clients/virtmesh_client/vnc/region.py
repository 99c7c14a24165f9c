"""What has changed and was not sent yet: a bit for each pixel, so that it never grows.

What is sent is whole cells, as far as they are asked for. Cells that lie together become
rectangles. If there are more than RECTS_MAX of them, the rectangle around all is sent: each one
costs the encoder and the viewer time.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from virtmesh_client.vnc.rects import Rect

CELL = 16
"""Width and height of a cell, in pixels."""
RECTS_MAX = 256
"""Most rectangles of an update."""
FULL = (1 << CELL) - 1

Words: TypeAlias = "np.ndarray[tuple[int, ...], np.dtype[np.uint16]]"


class Region:
    """A part of a picture of `width` times `height` pixels.

    Invariant: what was taken is not in it any more, wherever the edges of its area were. So a
    viewer that asks for the same again waits until something changes (RFC 6143, 7.5.3).
    """

    def __init__(self, width: int, height: int) -> None:
        self.bounds = Rect(0, 0, width, height)
        self._words = np.zeros((height, -(-width // CELL)), dtype=np.uint16)
        """By rows of pixels and columns of cells: a bit for each pixel, the first is the lowest."""

    def __bool__(self) -> bool:
        return bool(self._words.any())

    def add(self, rect: Rect) -> None:
        """Add a rectangle, or what of it is inside."""
        inside = rect.clip(self.bounds)
        if inside.width and inside.height:
            words, bits = self._look(inside)
            words |= bits

    def add_all(self) -> None:
        """Add the whole picture."""
        self.add(self.bounds)

    def touches(self, area: Rect) -> bool:
        """Say whether some of the region is in an area."""
        inside = area.clip(self.bounds)
        if not (inside.width and inside.height):
            return False
        words, bits = self._look(inside)
        return bool((np.bitwise_or.reduce(words, axis=0) & bits).any())

    def take(self, area: Rect) -> list[Rect]:
        """Take out what is in an area; return rectangles in the area that cover it."""
        inside = area.clip(self.bounds)
        if not (inside.width and inside.height):
            return []
        words, bits = self._look(inside)
        left, top, end = inside.x // CELL, inside.y // CELL, -(-inside.bottom // CELL)
        found = np.zeros((end - top, CELL, bits.size), dtype=np.uint16)
        rows = found.reshape(-1, bits.size)[inside.y - top * CELL :][: inside.height]
        np.bitwise_and(words, bits, out=rows)
        words ^= rows
        cells = np.bitwise_or.reduce(found, axis=1) != 0
        rects = [
            Rect((left + x) * CELL, (top + y) * CELL, w * CELL, h * CELL)
            for x, y, w, h in join_cells(cells)
        ]
        if len(rects) > RECTS_MAX:
            around = rects[0]
            for one in rects[1:]:
                around = around.join(one)
            rects = [around]
        return [one.clip(inside) for one in rects]

    def _look(self, rect: Rect) -> tuple[Words, Words]:
        """Return the words that a rectangle touches, and which bits of each row are in it."""
        first, end = rect.x // CELL, -(-rect.right // CELL)
        bits = np.full(end - first, FULL, dtype=np.uint16)
        bits[0] &= FULL << rect.x % CELL & FULL
        bits[-1] &= FULL >> (-rect.right % CELL)
        return self._words[rect.y : rect.bottom, first:end], bits


def join_cells(cells: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> list[Rect]:
    """Return rectangles of cells that cover those set: runs of a row, joined with equal ones above.

    They do not overlap.
    """
    padded = np.zeros((cells.shape[0], cells.shape[1] + 2), dtype=np.int8)
    padded[:, 1:-1] = cells
    edges = np.diff(padded, axis=1)
    starts, ends = np.argwhere(edges == 1), np.argwhere(edges == -1)
    done: list[Rect] = []
    growing: dict[tuple[int, int], Rect] = {}
    last_row = -1
    for (row, first), (_, end) in zip(starts.tolist(), ends.tolist(), strict=True):
        if row != last_row:
            done += [one for one in growing.values() if one.bottom < row]
            growing = {key: one for key, one in growing.items() if one.bottom >= row}
            last_row = row
        above = growing.get((first, end))
        if above is not None and above.bottom == row:
            growing[first, end] = Rect(first, above.y, end - first, row + 1 - above.y)
        else:
            growing[first, end] = Rect(first, row, end - first, 1)
    return done + list(growing.values())
