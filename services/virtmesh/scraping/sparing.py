"""Makes a value when it is asked for, but not more often than is allowed.

A thousand who ask at the same time get the same one. Who asks now and then gets a fresh one. While
many ask one after the other, they get one that is as old as `PERIOD_SECONDS` at most.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Generic, TypeVar

from virtmesh.rpc.allowance import Allowance

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Value = TypeVar("Value")

PERIOD_SECONDS = 1.0
"""While many ask, a value is made each time this has passed."""
BURST = 5
"""Values that may be made at once, after a quiet time."""


class Sparing(Generic[Value]):
    """Makes values by `make`. Use it on one event loop."""

    def __init__(
        self, make: Callable[[], Awaitable[Value]], clock: Callable[[], float] = monotonic
    ) -> None:
        self._make = make
        self._allowance = Allowance(BURST, 1 / PERIOD_SECONDS, clock)
        self._making: asyncio.Task[Value] | None = None
        self._last: Value | None = None
        self.made = 0
        """Values made."""

    async def get(self) -> Value:
        """Return a value. Errors: those of `make`, for all who wait for it."""
        if self._making is None:
            if not self._allowance.take() and self._last is not None:
                return self._last
            self._making = asyncio.create_task(self._make_one())
        # Who gives up must not take it away from the others.
        return await asyncio.shield(self._making)

    async def _make_one(self) -> Value:
        """Make a value, and keep it."""
        try:
            self._last = await self._make()
            self.made += 1
            return self._last
        finally:
            self._making = None
