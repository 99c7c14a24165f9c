"""Metrics as data: what one is called, counts and means; collectors only add the values.

An area states its metrics as module constants. `docs/metrics.md` is made from them.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from enum import Enum
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from types import ModuleType

    from prometheus_client import Metric

    Labels = Sequence[str]
    """Values of the labels, in the order in which the metric states their names."""


class Kind(Enum):
    """Types of metrics (Prometheus text format 0.0.4), and the suffix that each puts on a name."""

    COUNTER = "counter", "_total"
    GAUGE = "gauge", ""
    HISTOGRAM = "histogram", ""
    INFO = "gauge", "_info"

    def __init__(self, type_name: str, suffix: str) -> None:
        self.type_name = type_name
        self.suffix = suffix


FAMILIES: dict[Kind, type[Any]] = {
    Kind.COUNTER: CounterMetricFamily,
    Kind.GAUGE: GaugeMetricFamily,
    Kind.HISTOGRAM: HistogramMetricFamily,
    Kind.INFO: InfoMetricFamily,
}


@dataclass(frozen=True)
class Definition:
    """One metric. `unit` is a base unit of Prometheus or what is counted; `name` has no suffix."""

    kind: Kind
    name: str
    meaning: str
    unit: str
    labels: tuple[str, ...] = ()

    @property
    def full_name(self) -> str:
        """Name on the page."""
        return self.name + self.kind.suffix

    def of(self, rows: Iterable[tuple[Labels, float]]) -> Metric:
        """Return the metric with a value for each set of labels; for counters and gauges."""
        family: Any = self._family()
        for labels, value in rows:
            family.add_metric(labels, value)
        result: Metric = family
        return result

    def one(self, value: float) -> Metric:
        """Return the metric of a single value, without labels."""
        return self.of([((), value)])

    def facts(self, values: Mapping[str, str]) -> Metric:
        """Return the information: the labels are the facts."""
        result: Metric = InfoMetricFamily(self.name, self.meaning, value=dict(values))
        return result

    def histograms(self, rows: Iterable[tuple[Labels, Histogram]]) -> Metric:
        """Return the metric with a histogram for each set of labels."""
        family: Any = self._family()
        for labels, histogram in rows:
            family.add_metric(labels, histogram.buckets(), histogram.sum)
        result: Metric = family
        return result

    def _family(self) -> object:
        """Make the empty family."""
        return FAMILIES[self.kind](self.name, self.meaning, labels=self.labels)


class Histogram:
    """Counts values by size: in fixed buckets, by their upper bounds, ascending. For one thread."""

    __slots__ = ("_bounds", "_counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    @classmethod
    def counted(cls, bounds: Sequence[float], counts: Sequence[int], total: float) -> Histogram:
        """Make one of what something else has counted: one number more than there are bounds."""
        histogram = cls(bounds)
        histogram._counts = list(counts)
        histogram.sum = total
        return histogram

    @property
    def count(self) -> int:
        """Values counted."""
        return sum(self._counts)

    def observe(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self.sum += value

    def buckets(self) -> list[tuple[str, int]]:
        """Return the cumulative counts by upper bound, as Prometheus wants them."""
        names = [*(f"{bound:.9g}" for bound in self._bounds), "+Inf"]
        return list(zip(names, accumulate(self._counts), strict=True))


def powers_of_two(first: float, count: int) -> tuple[float, ...]:
    """Return bounds that double: quantiles are known to within a factor of two."""
    return tuple(first * 2**step for step in range(count))


LATENCY_BOUNDS = powers_of_two(16e-6, 20)
"""Bounds for times from 16 us to 8 s, in seconds."""


def counter(name: str, meaning: str, unit: str, *labels: str) -> Definition:
    """State a counter; its name gets the suffix _total."""
    return Definition(Kind.COUNTER, name, meaning, unit, labels)


def gauge(name: str, meaning: str, unit: str, *labels: str) -> Definition:
    """State a gauge."""
    return Definition(Kind.GAUGE, name, meaning, unit, labels)


def histogram(name: str, meaning: str, *labels: str) -> Definition:
    """State a histogram of times in seconds."""
    return Definition(Kind.HISTOGRAM, name, meaning, "seconds", labels)


def info(name: str, meaning: str, *labels: str) -> Definition:
    """State an information: a gauge that is always 1; its name gets the suffix _info."""
    return Definition(Kind.INFO, name, meaning, "", labels)


def definitions_in(module: ModuleType) -> tuple[Definition, ...]:
    """Return the metrics that a module states, in their order."""
    return tuple(value for value in vars(module).values() if isinstance(value, Definition))
