"""Viewers take turns: what one has sent ahead does not hold up the others."""

from __future__ import annotations

import asyncio

TURN_READS = 64
"""Most reads of a turn: a message has two or more."""
TURN_SECONDS = 0.005
"""How long a turn lasts at most, but for the message that it ends with."""


class Turns:
    """The turns of one viewer. A stream that has the bytes gives them without ever waiting."""

    def __init__(self) -> None:
        self._clock = asyncio.get_running_loop().time
        self._reads = 0
        self._end = 0.0

    async def take(self) -> None:
        """Begin a read; when the turn is over, let all others run first."""
        self._reads += 1
        if self._reads > TURN_READS or self._clock() >= self._end:
            await asyncio.sleep(0)
            self._reads, self._end = 1, self._clock() + TURN_SECONDS
