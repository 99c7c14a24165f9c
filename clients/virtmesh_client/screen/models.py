"""What the client knows of screens. `dataclasses.asdict` converts the values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

Rectangle: TypeAlias = tuple[int, int, int, int]
"""First column, first row, width and height, in pixels."""


@dataclass(frozen=True)
class ScanoutInfo:
    """One screen of a GPU. Sizes are in pixels."""

    number: int
    connected: bool
    mode: tuple[int, int]
    """Width and height that the screen prefers."""
    picture: tuple[int, int] | None
    """Width and height of what the driver shows; None while it shows nothing."""
    cursor: tuple[int, int] | None
    """Where the cursor is; None while it is hidden."""


@dataclass(frozen=True)
class Pixels:
    """A picture. `data` has 4 bytes for each pixel, row by row: blue, green, red, and 255."""

    width: int
    height: int
    data: bytes = field(repr=False)

    def at(self, x: int, y: int) -> tuple[int, int, int]:
        """Return red, green and blue of a pixel. Errors: IndexError."""
        if not (0 <= x < self.width and 0 <= y < self.height):
            raise IndexError(f"{x},{y} is outside of {self.width}x{self.height}")
        start = (y * self.width + x) * 4
        blue, green, red = self.data[start : start + 3]
        return red, green, blue


@dataclass(frozen=True)
class WatcherStats:
    """Counters of one who watches, since then."""

    updates: int
    """Updates that were sent."""
    flushes: int
    """Flushes that were in them."""
    flushes_merged: int
    """Those that came together with later ones: the frames that were dropped."""


@dataclass(frozen=True)
class ScanoutStats:
    """Counters of one screen, since the service started."""

    number: int
    flushes: int
    """Times that the driver showed something."""
    damage_bytes: int
    """Bytes of the pixels that changed."""
    watchers: int
    """Who watches now."""
    flushes_merged: int
    """Flushes that watchers got together with later ones, since they were slower."""
    watching: tuple[WatcherStats, ...] = ()
    """The same for each who watches now, in the order in which they came."""


@dataclass(frozen=True)
class Match:
    """Where `expect` found a needle."""

    x: int
    """First column of it on the screen."""
    y: int
    """First row."""
    width: int
    height: int
    score: float
    """1 where all pixels are the same; 1 less the root of the mean square of their differences."""
    needle: int
    """Which of the needles it is, from 0 on."""
    name: str
    """The name of the needle's file; else "needle 0"."""
    scanout: int
    picture: Pixels
    """What the screen showed."""

    @property
    def center(self) -> tuple[int, int]:
        """Column and row of the middle: where to click."""
        return self.x + self.width // 2, self.y + self.height // 2
