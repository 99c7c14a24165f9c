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


class Pool(Generic[T]):
    """Hands a returned thing straight to the task that waits longest, so no newcomer overtakes."""

    def __init__(self, things: Iterable[T]) -> None:
        self._free = deque(things)
        self._waiting: deque[asyncio.Future[T]] = deque()
        self._broken: Callable[[], VirtmeshError] | None = None
        self.waits = Histogram(LATENCY_BOUNDS)
        """Seconds that tasks waited for a thing; tasks that got one at once are not counted."""

    async def take(self) -> T:
        """Take a thing; wait for one when none is free. Errors: those that `fail` makes."""
        if self._broken is not None:
            raise self._broken()
        if self._free:
            return self._free.popleft()
        begun = monotonic()
        turn: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
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
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(thing)
                return
        if self._broken is None:
            self._free.append(thing)

    def fail(self, error: Callable[[], VirtmeshError]) -> None:
        """Fail everyone who waits or comes later with what `error` makes. Drop all things."""
        self._broken = error
        self._free.clear()
        for turn in self._waiting:
            if not turn.done():
                turn.set_exception(error())
        self._waiting.clear()
