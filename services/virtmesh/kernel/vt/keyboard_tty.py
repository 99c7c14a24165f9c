"""A tty that is a keyboard and a grid of cells, for a session of the monitor."""

from __future__ import annotations

import asyncio
import codecs
from typing import TYPE_CHECKING

from virtmesh_common.time_limit import time_limit

if TYPE_CHECKING:
    from collections.abc import Callable

    from virtmesh.kernel.vt.grid import Grid

TYPED_MAX = 64 << 10
"""Most bytes that wait to be read."""
FRAME_WAIT_S = 0.1
"""Longest wait for a screenful to be seen, before the next one is written."""


class KeyboardTty:
    """See `virtmesh.kernel.tty.Tty`. It never fails."""

    name = "screen"

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.kernel_queue = True
        self.on_break: Callable[[], object] = lambda: None
        self.overruns_seen = 0
        """Times that typed bytes were dropped, since nobody read them."""
        self.changed = asyncio.Event()
        """Set by every write; whoever draws clears it."""
        self.drawn = asyncio.Event()
        """Set by whoever draws; a writer who is a screen ahead waits for it."""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._typed = bytearray()
        self._came = asyncio.Event()
        self._seen = 0

    def type(self, data: bytes) -> None:
        """Take what a keyboard sends: all of it, or nothing while there is no room."""
        if len(self._typed) + len(data) > TYPED_MAX:
            self.overruns_seen += 1
            return
        self._typed += data
        self._came.set()

    def frame_done(self, scrolled: int) -> None:
        """Note that a frame was drawn when the grid had scrolled so often."""
        self._seen = scrolled
        self.drawn.set()

    async def read(self, limit: int = TYPED_MAX) -> bytes:
        """Return what was typed, at most `limit` bytes; wait for the first."""
        while not self._typed:
            self._came.clear()
            await self._came.wait()
        data = bytes(self._typed[:limit])
        del self._typed[:limit]
        return data

    async def write(self, data: bytes) -> None:
        """Write text to the grid. Who is a screen ahead of what is seen waits a moment."""
        self.grid.feed(self._decoder.decode(data))
        self.changed.set()
        if self.grid.scrolled - self._seen > self.grid.rows:
            self.drawn.clear()
            try:
                async with time_limit(FRAME_WAIT_S):
                    await self.drawn.wait()
            except TimeoutError:
                self._seen = self.grid.scrolled  # there is no screen, or one that is slow
        await asyncio.sleep(0)

    async def drain(self) -> None:
        """Do nothing: what is written is there."""

    def set_kernel_queue(self, *, on: bool) -> None:
        """Keep what is wanted: a keyboard has no such queue."""
        self.kernel_queue = on
