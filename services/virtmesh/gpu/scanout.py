"""A scanout: the mode that its screen prefers, what the driver shows on it, and who watches.

A picture is what the driver has flushed. It has pixels of its own, so watchers never see what is
half drawn, and resources may go at any time.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from virtmesh.gpu.damage import Damage, Rect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from virtmesh_native import Picture

    from virtmesh.gpu.settings import Mode


@dataclass(frozen=True)
class MemoryImage:
    """How the pixels of a blob lie in guest memory: `offset` and `stride` in bytes."""

    format: int
    width: int
    height: int
    offset: int
    stride: int


@dataclass(frozen=True)
class Source:
    """What the driver shows: a rectangle of a resource. `image` is set for a blob."""

    resource: int
    rect: Rect
    image: MemoryImage | None = None


@dataclass(frozen=True)
class Cursor:
    """The cursor of a scanout. `image` is 64 times 64 pixels: blue, green, red, alpha.

    `x` and `y` are where its top left corner is; they may be outside of the picture.
    """

    x: int = 0
    y: int = 0
    hot_x: int = 0
    hot_y: int = 0
    image: bytes = b""
    """Empty while the cursor is hidden."""


class Watcher:
    """Somebody who watches a scanout. What they have not taken is kept as damage, not as frames."""

    def __init__(self) -> None:
        self.damage = Damage()
        self.is_new = True
        """There is another picture than the one that was taken last."""
        self.cursor_moved = True
        self.cursor_image = b""
        """The image that the watcher has."""
        self.flushes = 0
        """Flushes since the last look: all but one of them were skipped."""
        self.updates = 0
        """Updates that were taken."""
        self.flushes_taken = self.flushes_merged = 0
        """Flushes that were in them, and those of them that were skipped."""
        self.news = asyncio.Event()


class Scanout:
    """One scanout."""

    def __init__(self, number: int, mode: Mode) -> None:
        self.number = number
        self.mode = mode
        self.enabled = True
        """A screen is connected."""
        self.source: Source | None = None
        self.picture: Picture | None = None
        """What people see; None while the driver shows nothing."""
        self.shows = 0
        """Counts the pictures: each that is shown, and each time that there is none."""
        self.cursor = Cursor()
        self.flushes = 0
        self.damage_bytes = 0
        self.flushes_merged = 0
        """Flushes that watchers got together with later ones, since they were slower."""
        self.watchers: dict[Watcher, None] = {}
        """In the order in which they came."""

    def show_nothing(self) -> None:
        """Take the picture away."""
        self.source = self.picture = None
        self._tell_new()

    def show(self, source: Source, picture: Picture) -> None:
        """Show another picture."""
        self.source, self.picture = source, picture
        self._tell_new()

    def flushed(self, rect: Rect, pixel_bytes: int) -> None:
        """Tell the watchers that a rectangle of the picture has changed."""
        self.flushes += 1
        self.damage_bytes += pixel_bytes
        for watcher in self.watchers:
            watcher.damage.add(rect)
            watcher.flushes += 1
            watcher.news.set()

    def set_cursor(self, cursor: Cursor) -> None:
        """Show another cursor."""
        self.cursor = cursor
        self._tell_cursor()

    def move_cursor(self, x: int, y: int) -> None:
        """Move the cursor."""
        self.cursor = replace(self.cursor, x=x, y=y)
        self._tell_cursor()

    @contextmanager
    def watching(self) -> Iterator[Watcher]:
        """Watch until the end of the block."""
        watcher = Watcher()
        watcher.news.set()
        self.watchers[watcher] = None
        try:
            yield watcher
        finally:
            del self.watchers[watcher]

    def take_flushes(self, watcher: Watcher) -> int:
        """Count an update for a watcher; return the flushes that are in it."""
        flushes, watcher.flushes = watcher.flushes, 0
        merged = max(flushes - 1, 0)
        watcher.updates += 1
        watcher.flushes_taken += flushes
        watcher.flushes_merged += merged
        self.flushes_merged += merged
        return flushes

    def wake_watchers(self) -> None:
        """Have every watcher look: the service stops."""
        for watcher in self.watchers:
            watcher.news.set()

    def _tell_new(self) -> None:
        self.shows += 1
        for watcher in self.watchers:
            watcher.is_new = True
            watcher.news.set()

    def _tell_cursor(self) -> None:
        for watcher in self.watchers:
            watcher.cursor_moved = True
            watcher.news.set()
