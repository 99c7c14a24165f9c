"""Counts the lines of the log, and limits lines that repeat.

Drivers and clients can make a service log the same event without end. Lines are told apart by
logger and event. Each may come `BURST` times in a period. Further ones are left out, and the next
line after the period says how many.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

import structlog

from virtmesh.telemetry.definitions import counter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from prometheus_client import Metric
    from structlog.typing import EventDict, WrappedLogger

LINES = counter(
    "virtmesh_log_lines",
    "Lines written to the log, by level; without those of libraries.",
    "lines",
    "level",
)
SUPPRESSED = counter(
    "virtmesh_log_suppressed_lines",
    "Lines left out, since there were too many of their kind.",
    "lines",
)

BURST = 20
"""Lines with the same logger and event that are written in one period."""
PERIOD_S = 10.0
KINDS_MAX = 1024
"""Most pairs of logger and event that are counted. Events are constants: there are fewer."""
AUDIT_LOGGER = "virtmesh.audit"
"""Who did what (virtmesh.rpc.audit): none of its lines is left out, since it counts repetitions."""
LEVELS = ("debug", "info", "warning", "error", "critical")


@dataclass
class LineCounts:
    """Counts of one logger and event, in one period."""

    begun: float
    lines: int = 0
    left_out: int = 0


class LogLimit:
    """Counts lines and drops those above the limit. It is a processor of structlog.

    All threads of a process share one. Two threads at the same time may miscount by a line.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._kinds: dict[tuple[str, str], LineCounts] = {}
        self._lines = Counter(dict.fromkeys(LEVELS, 0))
        self._suppressed = 0

    def __call__(self, _logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
        """Return the line if it is to be written. Errors: structlog.DropEvent if it is left out."""
        kind = self._kind_of(event)
        kind.lines += 1
        if kind.lines > BURST and event.get("logger") != AUDIT_LOGGER:
            kind.left_out += 1
            self._suppressed += 1
            raise structlog.DropEvent
        if kind.left_out:
            event["left_out"], kind.left_out = kind.left_out, 0
        self._lines[str(event.get("level", "info"))] += 1
        return event

    def metrics(self) -> Iterable[Metric]:
        """Return the metrics, read now."""
        yield LINES.of(((level,), self._lines[level]) for level in LEVELS)
        yield SUPPRESSED.one(self._suppressed)

    def _kind_of(self, event: EventDict) -> LineCounts:
        """Return the counts of lines like this one, in the current period."""
        key = str(event.get("logger", "")), str(event.get("event", ""))
        now = self._clock()
        kind = self._kinds.get(key)
        if kind is None:
            if len(self._kinds) >= KINDS_MAX:
                self._kinds.clear()
            kind = self._kinds[key] = LineCounts(now)
        elif now - kind.begun >= PERIOD_S:
            kind.begun, kind.lines = now, 0
        return kind
