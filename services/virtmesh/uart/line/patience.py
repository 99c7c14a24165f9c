"""How long the line waits for a driver that was interrupted and has not read yet.

Invariant: patience is lost only by its own alarm, PATIENCE_SECONDS after the driver last made room
(or after the waiting began), and it comes back only when there is room again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from virtmesh.uart.chip.clock import Timeline

PATIENCE_SECONDS = 1.0
"""How long the line waits for a driver that has been interrupted and does nothing."""


class Patience:
    """The patience of one line."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._alarm = timeline.alarm(self._run_out)
        self._since = 0.0
        """When the driver last made room, or the waiting began; in the clock's seconds."""
        self._lost = False

    def lasts(self) -> bool:
        """Say whether to wait on for the driver. The first call begins the waiting."""
        if self._lost:
            return False
        if not self._alarm.is_set:
            self._since = self._timeline.now
            self._alarm.set(PATIENCE_SECONDS)
        return True

    def renew(self) -> None:
        """Begin anew: the driver has made room."""
        self._lost = False
        if self._alarm.is_set:
            self._since = self._timeline.now

    def end(self) -> None:
        """Stop waiting: nothing is left on the line."""
        self._alarm.cancel()

    def _run_out(self) -> None:
        """Lose patience, unless the driver has made room since the alarm was set."""
        end = self._since + PATIENCE_SECONDS
        if end > self._timeline.now:
            self._alarm.set_at(end)
        else:
            self._lost = True
