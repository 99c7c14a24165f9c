"""A lock for ranges: those that overlap take turns, those that don't run side by side."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class RangeLock:
    """Fair: a range waits for every overlapping range that came before it, and for no other."""

    def __init__(self) -> None:
        self._held: list[_Hold] = []  # granted or waiting, in order of arrival

    @asynccontextmanager
    async def hold(self, start: int, end: int) -> AsyncIterator[None]:
        """Hold the range from `start` up to, not including, `end`."""
        hold = _Hold(start, end)
        for earlier in self._held:
            if earlier.start < end and start < earlier.end:
                hold.blockers += 1
                earlier.waiting.append(hold)
        self._held.append(hold)
        try:
            if hold.blockers:
                await hold.granted.wait()
            yield
        finally:
            # Also after a cancellation during the wait: ranges behind it must not wait for it.
            self._held.remove(hold)
            for later in hold.waiting:
                later.unblock()


class _Hold:
    """A range that is held or waited for."""

    def __init__(self, start: int, end: int) -> None:
        self.start = start
        self.end = end
        self.blockers = 0
        self.waiting: list[_Hold] = []
        self.granted = asyncio.Event()

    def unblock(self) -> None:
        """Note that one of the ranges in front of it was released."""
        self.blockers -= 1
        if not self.blockers:
            self.granted.set()
