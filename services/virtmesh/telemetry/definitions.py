"""Metrics as data: name, type, unit, labels and meaning. Collectors add the values.

A package defines its metrics as constants of a module. `docs/metrics.md` is made from them.
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


class MetricType(Enum):
    """Types of metrics (Prometheus text format 0.0.4), and the suffix of a name of that type."""

    COUNTER = "counter", "_total"
    GAUGE = "gauge", ""
    HISTOGRAM = "histogram", ""
    INFO = "gauge", "_info"

    def __init__(self, type_name: str, suffix: str) -> None:
        self.type_name = type_name
        self.suffix = suffix


FAMILIES: dict[MetricType, type[Any]] = {
    MetricType.COUNTER: CounterMetricFamily,
    MetricType.GAUGE: GaugeMetricFamily,
    MetricType.HISTOGRAM: HistogramMetricFamily,
    MetricType.INFO: InfoMetricFamily,
}


@dataclass(frozen=True)
class Definition:
    """One metric. `unit` is a base unit of Prometheus or what is counted. `name` has no suffix."""

    kind: MetricType
    name: str
    meaning: str
    unit: str
    labels: tuple[str, ...] = ()

    @property
    def full_name(self) -> str:
        """Name on the /metrics page."""
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
        """Return an info metric: its labels are the given values."""
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
    """Counts values in buckets. `bounds` are upper bounds, ascending. Use it on one thread only."""

    __slots__ = ("_bounds", "_counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    @classmethod
    def counted(cls, bounds: Sequence[float], counts: Sequence[int], total: float) -> Histogram:
        """Make a histogram of counts: one for each bound, and one for larger values."""
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
        """Return (upper bound, cumulative count) of each bucket, in the form of Prometheus."""
        names = [*(f"{bound:.9g}" for bound in self._bounds), "+Inf"]
        return list(zip(names, accumulate(self._counts), strict=True))


def powers_of_two(first: float, count: int) -> tuple[float, ...]:
    """Return `count` bounds from `first` on, each twice the one before.

    Quantiles are then known to a factor of two.
    """
    return tuple(first * 2**step for step in range(count))


LATENCY_BOUNDS = powers_of_two(16e-6, 20)
"""Bounds for times from 16 us to 8 s, in seconds."""


def counter(name: str, meaning: str, unit: str, *labels: str) -> Definition:
    """Define a counter. Its name on the page has the suffix _total."""
    return Definition(MetricType.COUNTER, name, meaning, unit, labels)


def gauge(name: str, meaning: str, unit: str, *labels: str) -> Definition:
    """Define a gauge."""
    return Definition(MetricType.GAUGE, name, meaning, unit, labels)


def histogram(name: str, meaning: str, *labels: str) -> Definition:
    """Define a histogram of times in seconds."""
    return Definition(MetricType.HISTOGRAM, name, meaning, "seconds", labels)


def info(name: str, meaning: str, *labels: str) -> Definition:
    """Define an info metric: a gauge that is always 1. Its name has the suffix _info."""
    return Definition(MetricType.INFO, name, meaning, "", labels)


def definitions_in(module: ModuleType) -> tuple[Definition, ...]:
    """Return the metrics that a module defines, in their order."""
    return tuple(value for value in vars(module).values() if isinstance(value, Definition))
