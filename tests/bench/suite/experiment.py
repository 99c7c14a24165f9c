"""What is measured: rows, and the experiments that measure them.

An experiment sets up both sides, ours and the peer, and gives for each point two callables that
measure once. The runner calls them in turns. A row is one figure of one point.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.bench.suite.figures import Buckets

Better = Literal["higher", "lower"]


PER_MIB = 1 / (1 << 20)


class NotMeasured(Exception):
    """A row can't be measured here; the message says why."""


@dataclass(frozen=True)
class Row:
    """A line of the table: a ratio of ours to a peer's."""

    name: str
    what: str
    peer: str
    unit: str
    """Of both sides; the ratio has none."""
    better: Better
    goal: float | None = None
    """What the ratio is to reach, or None if the row only informs."""
    point: str = ""
    """The point that it is a figure of; its own name unless given."""
    figure: str = "value"
    scale: float = 1.0
    """Makes the unit out of the figure's."""
    series: str = ""
    """Rows of one series are a line of a plot."""
    depth: int | None = None
    """Where it is on that line."""

    @property
    def at(self) -> str:
        """The point that it is a figure of."""
        return self.point or self.name

    def reached(self, ratio: float) -> bool | None:
        """Tell whether a ratio reaches the goal; None without one."""
        if self.goal is None:
            return None
        return ratio >= self.goal if self.better == "higher" else ratio <= self.goal


@dataclass(frozen=True)
class Sample:
    """What one measurement of one side has found."""

    figures: dict[str, float]
    latencies: Buckets = field(default_factory=list)


@dataclass(frozen=True)
class Point:
    """Both sides, ready to be measured."""

    ours: Callable[[], Sample]
    peer: Callable[[], Sample]


@dataclass(frozen=True)
class Setting:
    """Where and how long to measure."""

    folder: Path
    """An own folder in the file system where images lie."""
    sockets: Path
    """An own folder with a path short enough for sockets."""
    seconds: float
    """Of one measurement of one side, where a time can be chosen."""
    image_bytes: int
    import_bytes: int
    cpus: tuple[int, ...]
    """The CPUs that this run may use, ascending."""

    @property
    def one(self) -> int:
        """The CPU of everything that shares one."""
        return self.cpus[-1]

    def two(self) -> tuple[int, int]:
        """Return the CPUs of who asks and of who serves. Errors: NotMeasured."""
        if len(self.cpus) < 2:
            raise NotMeasured("it takes two CPUs, and this run has one")
        return self.cpus[-2], self.cpus[-1]


@dataclass(frozen=True)
class Experiment:
    """Rows that are measured in one go."""

    name: str
    where: str
    """The CPUs, in words."""
    rows: tuple[Row, ...]
    open: Callable[[Setting, Collection[str]], AbstractContextManager[dict[str, Point]]]
    """Sets up the named points, and stops all at the end. Errors: NotMeasured."""
