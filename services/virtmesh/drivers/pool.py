"""A pool of equal things that tasks take and give back, first come, first served."""

from __future__ import annotations

import asyncio
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Generic, TypeVar

from virtmesh.telemetry.definitions import LATENCY_BOUNDS, Histogram

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from virtmesh_common.errors import VirtmeshError

T = TypeVar("T")

RESERVE = 8
"""This part of the things is for what is short."""
SHORT_IN_A_ROW = 7
"""Things that go to what is short while bulk waits."""


class Pool(Generic[T]):
    """Hands a returned thing straight to the task that waits longest, so no newcomer overtakes.

    Pieces of long work (`bulk`) leave an eighth of the things to what is short, and wait behind it;
    after SHORT_IN_A_ROW things, one goes to them all the same.
    """

    def __init__(self, things: Iterable[T]) -> None:
        self._free = deque(things)
        self._reserve = len(self._free) // RESERVE
        self._waiting: deque[asyncio.Future[T]] = deque()
        self._bulk: deque[asyncio.Future[T]] = deque()
        self._in_a_row = 0
        self._broken: Callable[[], VirtmeshError] | None = None
        self.waits = Histogram(LATENCY_BOUNDS)
        """Seconds that tasks waited for a thing; tasks that got one at once are not counted."""

    async def take(self, *, bulk: bool = False) -> T:
        """Take a thing; wait for one when none is free. Errors: those that `fail` makes."""
        if self._broken is not None:
            raise self._broken()
        if len(self._free) > (self._reserve if bulk else 0):
            return self._free.popleft()
        begun = monotonic()
        turn: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        (self._bulk if bulk else self._waiting).append(turn)
        try:
            thing = await turn
        except asyncio.CancelledError:
            # The thing may have been handed over just before the cancellation.
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.give(turn.result())
            raise
        finally:
            self.waits.observe(monotonic() - begun)
        if self._broken is not None:  # `fail` came after the thing was handed over.
            raise self._broken()
        return thing

    def give(self, thing: T) -> None:
        """Give a thing back."""
        while (turn := self._next()) is not None:
            if not turn.done():
                turn.set_result(thing)
                return
        if self._broken is None:
            self._free.append(thing)

    def _next(self) -> asyncio.Future[T] | None:
        """Take out who is next, or None when nobody may have a thing."""
        bulk_may = self._bulk and len(self._free) >= self._reserve
        if self._waiting and not (bulk_may and self._in_a_row >= SHORT_IN_A_ROW):
            self._in_a_row += 1
            return self._waiting.popleft()
        self._in_a_row = 0
        return self._bulk.popleft() if bulk_may else None

    def fail(self, error: Callable[[], VirtmeshError]) -> None:
        """Fail everyone who waits or comes later with what `error` makes. Drop all things."""
        self._broken = error
        self._free.clear()
        for turn in (*self._waiting, *self._bulk):
            if not turn.done():
                turn.set_exception(error())
        self._waiting.clear()
        self._bulk.clear()
