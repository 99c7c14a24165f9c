"""Rectangles of an update (RFC 6143, 7.6.1)."""

from __future__ import annotations

import struct
from typing import NamedTuple

HEADER = struct.Struct(">HHHHi")


class Rect(NamedTuple):
    """A rectangle of pixels. Its width and height can be 0."""

    x: int
    y: int
    width: int
    height: int

    @property
    def right(self) -> int:
        """The column behind the last."""
        return self.x + self.width

    @property
    def bottom(self) -> int:
        """The row below the last."""
        return self.y + self.height

    def clip(self, other: Rect) -> Rect:
        """Return what both have; its width or height is 0 if that is nothing."""
        x, y = max(self.x, other.x), max(self.y, other.y)
        right, bottom = min(self.right, other.right), min(self.bottom, other.bottom)
        return Rect(x, y, max(0, right - x), max(0, bottom - y))

    def join(self, other: Rect) -> Rect:
        """Return the smallest rectangle that has both."""
        x, y = min(self.x, other.x), min(self.y, other.y)
        return Rect(x, y, max(self.right, other.right) - x, max(self.bottom, other.bottom) - y)


def pack_rect(rect: Rect, encoding: int, payload: bytes = b"") -> bytes:
    """Return a rectangle of an update."""
    return HEADER.pack(*rect, encoding) + payload
