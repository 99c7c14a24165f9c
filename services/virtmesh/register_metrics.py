"""Metrics of register windows: what RegisterFile counts."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import Metric

    from virtmesh.registers import RegisterFile


def register_metrics(*files: RegisterFile) -> Iterable[Metric]:
    """Return the counters of the register files of one window, summed."""
    for name, text, label in (
        ("reads", "Register reads", "register"),
        ("writes", "Register writes", "register"),
        ("refused", "Refused register accesses", "reason"),
        ("reserved", "Touches of reserved registers", "register"),
    ):
        counts: Counter[str] = sum((getattr(file, name) for file in files), Counter())
        family = CounterMetricFamily(f"virtmesh_register_{name}", text, labels=[label])
        for value, count in sorted(counts.items()):
            family.add_metric([value], count)
        yield family
