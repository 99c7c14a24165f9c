"""GPUs as the kernel sees them: a framebuffer and a cursor, whatever the driver."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

BAND_BYTES = 1 << 20
"""What is made black before other tasks have their turn."""


class GpuDevice(ABC):
    """A screen to draw on. Pixels are 4 bytes: blue, green, red, and one without meaning.

    `flush` and the cursor's methods raise DeviceLost, DeviceNeedsReset and RingCorrupt when the
    device fails, and CommandFailed when it refuses.

    One user draws at a time: see `drawing`.
    """

    name: str
    """Name of the device, for people."""

    def __init__(self) -> None:
        self.on_resize: Callable[[], object] = lambda: None
        """Called when there is another framebuffer, which is black."""
        self._turn = asyncio.Lock()
        self._last_user: object = None

    @asynccontextmanager
    async def drawing(self, user: object) -> AsyncIterator[bool]:
        """Draw in the body, alone; wait for the turn. True where another user drew in between.

        The virtual terminal takes a turn for each of its frames. Who keeps the turn has the screen:
        the terminal draws everything anew afterwards.
        """
        async with self._turn:
            others_drew = self._last_user not in (None, user)
            self._last_user = user
            yield others_drew

    @property
    @abstractmethod
    def resolution(self) -> tuple[int, int]:
        """Width and height of the framebuffer, in pixels."""

    @abstractmethod
    def get_framebuffer(self) -> memoryview:
        """Return the pixels, row by row. They are shown by `flush`.

        Another mode brings another framebuffer: ask again after a change of `resolution`.
        """

    @abstractmethod
    async def flush(self, x: int = 0, y: int = 0, width: int = 0, height: int = 0) -> None:
        """Show a rectangle of the framebuffer; without a size all of it.

        Errors: BadRectangle.
        """

    @abstractmethod
    async def update_cursor(
        self, image: bytes | None, x: int, y: int, hot_x: int = 0, hot_y: int = 0
    ) -> None:
        """Show a cursor of 64 times 64 pixels (blue, green, red, alpha); None hides it.

        Errors: BadRectangle for an image of another size.
        """

    @abstractmethod
    async def move_cursor(self, x: int, y: int) -> None:
        """Move the cursor."""


async def blacken(find: Callable[[], memoryview]) -> None:
    """Make pixels black; other tasks have their turns. It ends where `find` gives none any more."""
    start, zeroes = 0, bytes(BAND_BYTES)
    while start < len(pixels := find()):
        end = min(start + len(zeroes), len(pixels))
        pixels[start:end] = zeroes[: end - start]
        start = end
        await asyncio.sleep(0)
