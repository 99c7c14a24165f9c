"""The lines of the log: how many there were, and a limit for those that come again and again.

Drivers and clients can make a service say the same thing without end. Each kind of line, by logger
and event, may come `BURST` times in a period; then it is left out until the period ends, and the
next one says how many were.
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
"""Lines of one kind that may come in one period."""
PERIOD_S = 10.0
KINDS_MAX = 1024
"""Kinds of lines that are told apart. Events are constants, so that there are fewer."""
LEVELS = ("debug", "info", "warning", "error", "critical")


@dataclass
class Kind:
    """Lines of one logger and event, in one period."""

    begun: float
    lines: int = 0
    left_out: int = 0


class LogLimit:
    """Counts lines, and leaves out those that are too many: a processor of structlog.

    For the lines of one process, whatever thread they come from: a race costs a line's count.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._kinds: dict[tuple[str, str], Kind] = {}
        self._lines = Counter(dict.fromkeys(LEVELS, 0))
        self._suppressed = 0

    def __call__(self, _logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
        """Let a line pass. Errors: structlog.DropEvent for one too many."""
        kind = self._kind_of(event)
        kind.lines += 1
        if kind.lines > BURST:
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

    def _kind_of(self, event: EventDict) -> Kind:
        """Return what is counted of such lines, in the period that it is now."""
        key = str(event.get("logger", "")), str(event.get("event", ""))
        now = self._clock()
        kind = self._kinds.get(key)
        if kind is None:
            if len(self._kinds) >= KINDS_MAX:
                self._kinds.clear()
            kind = self._kinds[key] = Kind(now)
        elif now - kind.begun >= PERIOD_S:
            kind.begun, kind.lines = now, 0
        return kind
