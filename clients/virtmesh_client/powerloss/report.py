"""What a check of power losses has found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Violation:
    """A state that the checker refused."""

    state: int
    """Its number: with the same options and seed it is made again."""
    window: int
    mark: str
    """The last mark before the power loss."""
    writes: tuple[str, ...]
    """What of each loose write is there."""
    exit_status: int | None
    """Of the checker, negative for a signal; None if it did not end in time."""
    output: str
    """The end of what the checker wrote."""


@dataclass(frozen=True)
class PowerLossReport:
    """The states that were tried, and those that the checker refused."""

    log: str
    image: str
    seed: int
    entries: int
    writes: int
    flushes: int
    marks: int
    runs: int
    """How often a service began to record; 0 if the log does not say."""
    windows: int
    """Crash points: just before writes become durable, and before marks."""
    exhaustive_windows: int
    """Those of which each state was tried."""
    states: int
    """States that were tried."""
    distinct_states: int
    """Images among them that differ."""
    checks: int
    """Runs of the checker: one for each image and mark that differ."""
    violation_count: int
    violations: tuple[Violation, ...]
    """The first of them."""
    base_status: int | None
    """What the checker exits with for the base itself; None if it did not end in time."""
    seconds: float
