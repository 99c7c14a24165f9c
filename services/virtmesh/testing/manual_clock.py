"""A clock that a test drives by hand: nothing happens but by `advance` and `turn`."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(eq=False)
class ManualCall:
    """A call that the clock will make. Implements virtmesh.uart.chip.clock.ScheduledCall."""

    when: float
    callback: Callable[[], object]
    order: int
    cancelled: bool = False

    def cancel(self) -> None:
        """Do not make the call."""
        self.cancelled = True


@dataclass
class ManualClock:
    """Time that stands still. Implements virtmesh.uart.chip.clock.Clock."""

    now: float = 0.0
    _calls: list[ManualCall] = field(default_factory=list)
    _soon: list[ManualCall] = field(default_factory=list)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def time(self) -> float:
        """Return the time."""
        return self.now

    def call_at(self, when: float, callback: Callable[[], object], /) -> ManualCall:
        """Call something once the time is there."""
        call = ManualCall(when, callback, next(self._numbers))
        self._calls.append(call)
        return call

    def call_soon(self, callback: Callable[[], object], /) -> ManualCall:
        """Call something on the next turn."""
        call = ManualCall(self.now, callback, next(self._numbers))
        self._soon.append(call)
        return call

    def turn(self) -> None:
        """Let one turn of the loop pass: what was to be called soon is called."""
        calls, self._soon = self._soon, []
        for call in calls:
            if not call.cancelled:
                call.callback()

    def advance(self, seconds: float) -> None:
        """Let time pass, and what falls due be called at its time."""
        end = self.now + seconds
        while due := [one for one in self._calls if not one.cancelled and one.when <= end]:
            call = min(due, key=lambda one: (one.when, one.order))
            self._calls.remove(call)
            self.now = max(self.now, call.when)
            call.callback()
        self._calls = [one for one in self._calls if not one.cancelled]
        self.now = end

    def jump(self, seconds: float) -> None:
        """Let time pass while nothing is called: the event loop is late."""
        self.now += seconds
