"""What has changed and was not sent yet: a grid of cells, so that it never grows.

Cells that lie together become rectangles. If there are more than RECTS_MAX of them, the rectangle
around all is sent: each one costs the encoder and the viewer time.
"""

from __future__ import annotations

import numpy as np

from virtmesh_client.vnc.rects import Rect

CELL = 16
"""Width and height of a cell, in pixels."""
RECTS_MAX = 256
"""Most rectangles of an update."""


class Region:
    """A part of a picture of `width` times `height` pixels."""

    def __init__(self, width: int, height: int) -> None:
        self.bounds = Rect(0, 0, width, height)
        self._cells = np.zeros((-(-height // CELL), -(-width // CELL)), dtype=np.bool_)

    def __bool__(self) -> bool:
        return bool(self._cells.any())

    def add(self, rect: Rect) -> None:
        """Add a rectangle, or what of it is inside."""
        inside = rect.clip(self.bounds)
        if inside.width and inside.height:
            self._cells[self._span(inside)] = True

    def add_all(self) -> None:
        """Add the whole picture."""
        self._cells[:] = True

    def touches(self, area: Rect) -> bool:
        """Say whether some of the region is in an area."""
        inside = area.clip(self.bounds)
        return bool(inside.width and inside.height and self._cells[self._span(inside)].any())

    def take(self, area: Rect) -> list[Rect]:
        """Take out what is in an area; return it as rectangles in the area.

        Cells at the edge of the area stay, if a part of them is outside of it.
        """
        inside = area.clip(self.bounds)
        if not (inside.width and inside.height):
            return []
        span = self._span(inside)
        found = self._cells[span].copy()
        rows, columns = span
        whole = np.zeros_like(found)
        whole[self._whole(inside, rows, columns)] = True
        self._cells[span] &= ~whole
        rects = [
            Rect((columns.start + x) * CELL, (rows.start + y) * CELL, w * CELL, h * CELL)
            for x, y, w, h in join_cells(found)
        ]
        if len(rects) > RECTS_MAX:
            around = rects[0]
            for one in rects[1:]:
                around = around.join(one)
            rects = [around]
        return [one.clip(inside) for one in rects]

    def _whole(self, area: Rect, rows: slice, columns: slice) -> tuple[slice, slice]:
        """Return which of the cells of `rows` and `columns` lie in an area as a whole."""
        left, top = -(-area.x // CELL), -(-area.y // CELL)
        right = columns.stop if area.right == self.bounds.right else area.right // CELL
        bottom = rows.stop if area.bottom == self.bounds.bottom else area.bottom // CELL
        return (
            slice(top - rows.start, max(top, bottom) - rows.start),
            slice(left - columns.start, max(left, right) - columns.start),
        )

    @staticmethod
    def _span(rect: Rect) -> tuple[slice, slice]:
        """Return the rows and the columns of the cells that a rectangle touches."""
        return (
            slice(rect.y // CELL, -(-rect.bottom // CELL)),
            slice(rect.x // CELL, -(-rect.right // CELL)),
        )


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
