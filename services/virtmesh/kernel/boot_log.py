"""The boot log: what the kernel did, in lines with the time since it started.

The last lines are kept for whoever reads them later, at a pace of its own. Adding a line never
waits, so a console that is slow, or gone, delays nothing: it misses lines, and is told how many.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING

from virtmesh_common.printable import printable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

LINES_KEPT = 1024
"""Lines that a reader can be behind."""
LINE_MAX = 500
"""Longest line, in characters without its time; what is longer is cut."""


class BootLog:
    """Lines such as `[    0.012345] vda: ready`. `count` is how many came, ever."""

    def __init__(self, kept: int = LINES_KEPT, clock: Callable[[], float] = time.monotonic) -> None:
        self.count = 0
        self._clock = clock
        self._started = clock()
        self._lines: deque[str] = deque(maxlen=kept)
        self._news: set[asyncio.Event] = set()

    @property
    def uptime(self) -> float:
        """Seconds since the log was made, with the kernel."""
        return self._clock() - self._started

    def add(self, text: str) -> None:
        """Add a line. It may hold what a device says of itself: control characters become `?`."""
        self._lines.append(f"[{self.uptime:12.6f}] {printable(text[:LINE_MAX])}")
        self.count += 1
        for news in self._news:
            news.set()

    def last(self, count: int) -> Sequence[str]:
        """Return the last lines, at most as many."""
        return list(self._lines)[-count:] if count > 0 else ()

    def reader(self) -> BootLogReader:
        """Make a reader, which begins with the oldest line that is kept."""
        return BootLogReader(self, self._news)


class BootLogReader:
    """Reads a log from its beginning. `close` forgets it."""

    def __init__(self, log: BootLog, news: set[asyncio.Event]) -> None:
        self._log = log
        self._next = 0
        self._turn = asyncio.Lock()
        self._event = asyncio.Event()
        self._all = news
        news.add(self._event)

    async def news(self) -> None:
        """Wait until there are lines to be read."""
        while self._next == self._log.count:
            self._event.clear()
            await self._event.wait()

    async def pass_on(self, write: Callable[[Sequence[str]], Awaitable[None]]) -> None:
        """Have the lines that have come written, a note in place of those that are kept no more.

        They count as read once they are written; so what fails is tried again next time.
        """
        async with self._turn:
            count = self._log.count
            lines = self._log.last(count - self._next)
            missed = count - self._next - len(lines)
            if missed:
                lines = [f"({missed} lines are lost: more than are kept)", *lines]
            if lines:
                await write(lines)
            self._next = count

    def close(self) -> None:
        """Be told no more."""
        self._all.discard(self._event)
