"""What a watch of a screen tells, and the picture that it keeps up to date."""

from __future__ import annotations

from dataclasses import dataclass, field

PIXEL_BYTES = 4
CURSOR_SIDE = 64
"""Width and height of the image of a cursor, in pixels."""


@dataclass(frozen=True)
class Change:
    """A rectangle of pixels that has changed. It is inside of the picture, and never empty."""

    x: int
    y: int
    width: int
    height: int
    pixels: bytes = field(repr=False)
    """4 bytes for each pixel, row by row without gaps: blue, green, red, and 255."""


@dataclass(frozen=True)
class Cursor:
    """The pointer that the driver shows over the picture. It is no part of the picture."""

    visible: bool
    x: int
    """Column of the top left corner of its image. It can be outside of the picture."""
    y: int
    """Row of the top left corner."""
    hot_x: int
    """Column of the hot spot in the image."""
    hot_y: int
    """Row of the hot spot in the image."""
    image: bytes = field(repr=False)
    """64 times 64 pixels: blue, green, red, alpha. Empty until the driver has shown a cursor; then
    it is there in each update, whether it has changed or not."""


@dataclass(frozen=True)
class Update:
    """What has changed on a screen since the update before."""

    number: int
    """Counts the updates of a watch, from 1."""
    width: int
    """Width of the picture, in pixels; 0 while the driver shows nothing."""
    height: int
    """Height of the picture, in pixels."""
    is_new: bool
    """It is another picture: `changes` has the whole of it. So has the first update.

    If the driver shows yet another picture meanwhile, the end of this one is missing (`is_whole`),
    and the next update has the other."""
    changes: tuple[Change, ...]
    cursor: Cursor | None
    """None if nothing has changed about the cursor."""
    flushes: int
    """Flushes of the driver that are in this update: a slow watcher gets several as one."""

    @property
    def is_whole(self) -> bool:
        """False for another picture whose end is missing."""
        return not self.is_new or self.pixel_bytes == self.width * self.height * PIXEL_BYTES

    @property
    def pixel_bytes(self) -> int:
        """Bytes of the pixels that have changed."""
        return sum(len(one.pixels) for one in self.changes)


class Picture:
    """What a screen shows, by the updates of a watch, from the first on.

    Example:
        picture = Picture()
        for update in machine.screen("gpu").watch():
            picture.apply(update)
            print(picture.width, picture.height, len(picture.data))
    """

    def __init__(self) -> None:
        self.width = 0
        """Width in pixels; 0 while nothing is shown."""
        self.height = 0
        self.data = bytearray()
        """4 bytes for each pixel, row by row: blue, green, red, and 255. Another object when there
        is another picture; otherwise it changes in place."""

    def apply(self, update: Update) -> bool:
        """Take the next update in. Returns whether any pixel is another than before.

        Errors: ValueError for an update that is not of this picture.
        """
        before = None
        if update.is_new:
            before = (self.width, self.height, self.data)
            self.width, self.height = update.width, update.height
            self.data = bytearray(update.width * update.height * PIXEL_BYTES)
        elif (update.width, update.height) != (self.width, self.height):
            raise ValueError(
                f"update {update.number} is of a picture of {update.width}x{update.height}, and"
                f" this one has {self.width}x{self.height}: apply all updates, from the first on"
            )
        differs = False
        for change in update.changes:
            differs = self._put(change) or differs
        return differs if before is None else before != (self.width, self.height, self.data)

    def cut(self, x: int, y: int, width: int, height: int) -> bytes:
        """Return the pixels of a rectangle that is inside of the picture."""
        rows = (self._row(x, line, width) for line in range(y, y + height))
        return b"".join(self.data[row] for row in rows)

    def _put(self, change: Change) -> bool:
        """Put a rectangle into the picture. Returns whether it has another pixel in it."""
        x, y, width, height = change.x, change.y, change.width, change.height
        if width == self.width:  # The rows follow each other without gaps.
            return self._put_bytes(
                slice(self._row(x, y, width).start, self._row(x, y + height, width).start),
                change.pixels,
            )
        size = width * PIXEL_BYTES
        differs = False
        for row in range(height):
            pixels = change.pixels[row * size : (row + 1) * size]
            differs = self._put_bytes(self._row(x, y + row, width), pixels) or differs
        return differs

    def _put_bytes(self, place: slice, pixels: bytes) -> bool:
        """Replace bytes. Returns whether they were others."""
        differs = memoryview(self.data)[place] != pixels
        if differs:
            self.data[place] = pixels
        return differs

    def _row(self, x: int, y: int, width: int) -> slice:
        """Return where a row of a rectangle is in the data."""
        first = (y * self.width + x) * PIXEL_BYTES
        return slice(first, first + width * PIXEL_BYTES)
