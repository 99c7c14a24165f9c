"""Which parts of a picture have changed since somebody last looked."""

from __future__ import annotations

from dataclasses import dataclass

RECTS_MAX = 16
"""Most rectangles that are told apart. More become one that has them all in it."""


@dataclass(frozen=True)
class Rect:
    """A rectangle of pixels."""

    x: int
    y: int
    width: int
    height: int

    @property
    def right(self) -> int:
        """The first column behind it."""
        return self.x + self.width

    @property
    def bottom(self) -> int:
        """The first row below it."""
        return self.y + self.height

    @property
    def pixels(self) -> int:
        """Pixels in it."""
        return self.width * self.height

    def overlap(self, other: Rect) -> Rect | None:
        """Return what two rectangles have in common; None if they have nothing."""
        x, y = max(self.x, other.x), max(self.y, other.y)
        width = min(self.right, other.right) - x
        height = min(self.bottom, other.bottom) - y
        return Rect(x, y, width, height) if width > 0 and height > 0 else None

    def around(self, other: Rect) -> Rect:
        """Return the smallest rectangle that has both in it."""
        x, y = min(self.x, other.x), min(self.y, other.y)
        return Rect(x, y, max(self.right, other.right) - x, max(self.bottom, other.bottom) - y)

    def moved(self, columns: int, rows: int) -> Rect:
        """Return it at another place."""
        return Rect(self.x + columns, self.y + rows, self.width, self.height)

    @property
    def place(self) -> tuple[int, int, int, int]:
        """The rectangle as native code takes it."""
        return self.x, self.y, self.width, self.height


class Damage:
    """Rectangles that do not overlap, at most RECTS_MAX of them."""

    def __init__(self) -> None:
        self._rects: list[Rect] = []

    def __bool__(self) -> bool:
        return bool(self._rects)

    def add(self, rect: Rect) -> None:
        """Add a rectangle."""
        # What overlaps becomes one, and that may overlap others: look again until nothing does.
        while True:
            touched = [one for one in self._rects if one.overlap(rect)]
            if not touched:
                break
            for one in touched:
                self._rects.remove(one)
                rect = rect.around(one)
        self._rects.append(rect)
        if len(self._rects) > RECTS_MAX:
            for one in self._rects:
                rect = rect.around(one)
            self._rects = [rect]

    def take(self) -> list[Rect]:
        """Return the rectangles, and begin anew."""
        taken, self._rects = self._rects, []
        return taken
