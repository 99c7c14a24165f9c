"""The limit of lines that come again and again."""

from __future__ import annotations

from typing import Any

import pytest
import structlog

from virtmesh.telemetry.log_rate_limit import BURST, KINDS_MAX, PERIOD_S, LogLimit


class Clock:
    """Time that stands still until it is moved."""

    now = 100.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now


def line(event: str = "features refused", level: str = "warning") -> dict[str, Any]:
    """Make a line."""
    return {"event": event, "level": level, "logger": "test"}


def log(limit: LogLimit, event: str = "features refused") -> bool:
    """Log a line; False when it was left out."""
    try:
        limit(None, "warning", line(event))
    except structlog.DropEvent:
        return False
    return True


def numbers(limit: LogLimit) -> dict[tuple[str, ...], float]:
    """Return the metrics by name and label."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for metric in limit.metrics()
        for sample in metric.samples
    }


def test_a_burst_passes_and_more_does_not() -> None:
    """The lines of one kind are limited; each that is left out is counted."""
    limit = LogLimit(Clock())

    passed = [log(limit) for _ in range(BURST + 5)]

    assert passed == [True] * BURST + [False] * 5
    assert numbers(limit)["virtmesh_log_lines_total", "warning"] == BURST
    assert numbers(limit)["virtmesh_log_suppressed_lines_total",] == 5


def test_the_next_period_begins_with_how_many_were_left_out() -> None:
    """Nothing is lost silently, and later lines say nothing of it any more."""
    clock = Clock()
    limit = LogLimit(clock)
    passed = [log(limit) for _ in range(BURST + 3)]
    clock.now += PERIOD_S

    first, second = limit(None, "warning", line()), limit(None, "warning", line())

    assert passed.count(False) == 3
    assert first["left_out"] == 3
    assert "left_out" not in second


def test_kinds_do_not_use_up_each_others_lines() -> None:
    """A flood of one kind hides no other."""
    limit = LogLimit(Clock())
    flood = [log(limit) for _ in range(2 * BURST)]

    assert flood.count(True) == BURST
    assert log(limit, "the driver is gone")


def test_memory_is_bounded() -> None:
    """Whoever gets text of its own into events can't fill the memory with kinds."""
    limit = LogLimit(Clock())

    passed = [log(limit, f"event {number}") for number in range(3 * KINDS_MAX)]

    assert all(passed)
    assert len(limit._kinds) <= KINDS_MAX


@pytest.mark.parametrize("level", ["info", "error"])
def test_lines_are_counted_by_level(level: str) -> None:
    """Every level has its number."""
    limit = LogLimit(Clock())

    limit(None, level, line(level=level))

    assert numbers(limit)["virtmesh_log_lines_total", level] == 1
