"""What the screen shows, as pixels that encoders read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from virtmesh_client.vnc.cursor import blend, cursor_rect
from virtmesh_client.vnc.rects import Rect

if TYPE_CHECKING:
    from virtmesh_client.screen.update import Cursor, Update
    from virtmesh_client.vnc.pixels import Pixels

BLACK = 0xFF00_0000


class Canvas:
    """The picture, by the updates of a watch. Outside of it everything is black.

    Only one thread uses it at a time: who holds the lock of the session.
    """

    def __init__(self) -> None:
        self._pixels: Pixels = np.zeros((0, 0), dtype=np.uint32)
        self.cursor: Cursor | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the picture; 0 and 0 if there is none."""
        height, width = self._pixels.shape
        return width, height

    def apply(self, update: Update) -> None:
        """Take the next update in."""
        if update.is_new:
            self._pixels = np.full((update.height, update.width), BLACK, dtype=np.uint32)
        for change in update.changes:
            part = np.frombuffer(change.pixels, dtype="<u4").reshape(change.height, change.width)
            rows = slice(change.y, change.y + change.height)
            self._pixels[rows, change.x : change.x + change.width] = part
        if update.cursor is not None:
            self.cursor = update.cursor

    def read(self, rect: Rect, *, with_cursor: bool) -> Pixels:
        """Return the pixels of a rectangle. Nobody writes to them."""
        inside = rect.clip(Rect(0, 0, *self.size))
        drawn = self.cursor if with_cursor else None
        place = rect.clip(cursor_rect(drawn))
        rows, columns = slice(inside.y, inside.bottom), slice(inside.x, inside.right)
        found = self._pixels[rows, columns]
        if inside != rect:
            room = np.full((rect.height, rect.width), BLACK, dtype=np.uint32)
            room[: inside.height, : inside.width] = found
            found = room
        if drawn is not None and place.width and place.height:
            found = found.copy() if found.base is not None else found
            blend(found, rect, drawn, place)
        return found
