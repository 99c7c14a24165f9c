"""Figures of several rounds: medians with quartiles, and ratios round by round."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from statistics import median, quantiles
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Buckets = list[tuple[int, int]]
"""A histogram: the upper ends of buckets in nanoseconds, ascending, each with its count."""


@dataclass(frozen=True)
class Quartiles:
    """The middle of some values, and the middle half of them."""

    low: float
    median: float
    high: float


def quartiles(values: Sequence[float]) -> Quartiles:
    """Return the quartiles of one value or more. Errors: ValueError for none."""
    if not values:
        raise ValueError("no values, no quartiles")
    if len(values) == 1:
        return Quartiles(values[0], values[0], values[0])
    low, _, high = quantiles(values, n=4, method="inclusive")
    return Quartiles(low, median(values), high)


def ratios(ours: Sequence[float], peers: Sequence[float]) -> list[float]:
    """Return ours / peer of each round. Errors: ValueError if a figure is 0, or no number."""
    found = []
    for our, peer in zip(ours, peers, strict=True):
        if not (isfinite(our) and isfinite(peer) and peer > 0):
            raise ValueError(f"there is no ratio of {our:g} and {peer:g}")
        found.append(our / peer)
    return found


def merged(histograms: Iterable[Buckets]) -> Buckets:
    """Add histograms up."""
    counts: dict[int, int] = {}
    for buckets in histograms:
        for end, count in buckets:
            counts[end] = counts.get(end, 0) + count
    return sorted(counts.items())


def percentile(buckets: Buckets, percent: float) -> int:
    """Return the end of the bucket that holds a percentile. Errors: ValueError if it is empty."""
    wanted = sum(count for _, count in buckets) * percent / 100
    seen = 0
    for end, count in buckets:
        seen += count
        if seen >= wanted and seen:
            return end
    raise ValueError("an empty histogram has no percentiles")
