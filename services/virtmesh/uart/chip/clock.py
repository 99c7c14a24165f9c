"""Time, for a chip that is paced by its baud rate.

What is to happen at a time is an `Alarm` of a `Timeline`. Alarms that are due run in the order of
their times, each as of its own time, however late the event loop is: when the loop's timer fires,
and before every register access, so that the chip that is accessed is the chip of now.

Invariant: whenever no alarm runs, the clock is to call at the time of the alarm that is due first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class ScheduledCall(Protocol):
    """A call that the clock will make."""

    def cancel(self) -> None:
        """Do not make the call."""


class Clock(Protocol):
    """Where time comes from: asyncio's event loop, or a clock that a test drives by hand."""

    def time(self) -> float:
        """Return the time, in seconds since any moment."""

    def call_at(self, when: float, callback: Callable[[], object], /) -> ScheduledCall:
        """Call something at a time of this clock."""

    def call_soon(self, callback: Callable[[], object], /) -> ScheduledCall:
        """Call something on the next turn of the loop."""


class Timeline:
    """The alarms of one device."""

    def __init__(self, clock: Clock) -> None:
        self.after_alarm: Callable[[], object] = lambda: None
        """Called after each alarm that has run, as of the same time."""
        self._clock = clock
        self._alarms: list[Alarm] = []
        self._running: float | None = None
        """Time of the alarm that runs now."""
        self._armed: float | None = None
        """Time at which the clock is to call."""
        self._timer: ScheduledCall | None = None

    @property
    def now(self) -> float:
        """The time: that of the alarm which runs, if one does."""
        return self._clock.time() if self._running is None else self._running

    def alarm(self, callback: Callable[[], object]) -> Alarm:
        """Make an alarm; it is not set."""
        alarm = Alarm(self, self._clock, callback)
        self._alarms.append(alarm)
        return alarm

    def run_due(self) -> None:
        """Run the alarms that are due."""
        if self._armed is None or self._running is not None:
            return
        now = self._clock.time()
        try:
            while (first := self._first()) is not None and first.due <= now:
                self._running = first.due
                first.run()
        finally:
            self._running = None
        self.arm()

    def arm(self) -> None:
        """Have the clock call when the first alarm is due."""
        if self._running is not None:
            return
        first = self._first()
        due = None if first is None else first.due
        if due == self._armed:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._armed = due
        self._timer = None if due is None else self._clock.call_at(due, self._called)

    def scale(self, factor: float) -> None:
        """Scale the remaining time of every pending alarm (the baud rate changed)."""
        now = self.now
        for alarm in self._alarms:
            alarm.due = now + (alarm.due - now) * factor
        self.arm()

    def _called(self) -> None:
        """Run what is due when the clock calls; a clock may be early by its resolution."""
        due, self._timer = self._armed, None
        self.run_due()
        if due is not None and self._armed == due:
            self._armed = None
            self.arm()

    def _first(self) -> Alarm | None:
        """Return the alarm that is due first."""
        return min((one for one in self._alarms if one.is_set), key=_due, default=None)


class Alarm:
    """Something that happens once, at a time or on the next turn of the loop."""

    def __init__(self, timeline: Timeline, clock: Clock, callback: Callable[[], object]) -> None:
        self._timeline = timeline
        self._clock = clock
        self._callback = callback
        self._soon: ScheduledCall | None = None
        self.due = 0.0
        """When it is to run, in the clock's seconds."""
        self.is_set = False
        """True while it is to run at `due`."""

    def set(self, delay: float) -> None:
        """Run it after a delay, in seconds."""
        self.set_at(self._timeline.now + delay)

    def set_at(self, when: float) -> None:
        """Run it at a time of the clock."""
        self._forget_soon()
        self.due = when
        self.is_set = True
        self._timeline.arm()

    def soon(self) -> None:
        """Run it on the next turn of the loop."""
        if self._soon is None:
            self.cancel()
            self._soon = self._clock.call_soon(self.run)

    def cancel(self) -> None:
        """Do not run it."""
        self._forget_soon()
        if self.is_set:
            self.is_set = False
            self._timeline.arm()

    def run(self) -> None:
        """Run it now."""
        self._soon = None
        self.is_set = False
        self._callback()
        self._timeline.after_alarm()

    def _forget_soon(self) -> None:
        """Do not run it on the next turn."""
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None


def _due(alarm: Alarm) -> float:
    """Return when an alarm is due."""
    return alarm.due
