"""Metrics of the register window of a virtio device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import Metric

    from virtmesh.registers import RegisterFile


def transport_metrics(registers: RegisterFile, features_refused: int) -> Iterable[Metric]:
    """Return the counters of a register file, and of refused negotiations."""
    counted = (
        ("virtmesh_register_reads", "Register reads", "register", registers.reads),
        ("virtmesh_register_writes", "Register writes", "register", registers.writes),
        ("virtmesh_register_refused", "Refused register accesses", "reason", registers.refused),
        (
            "virtmesh_register_reserved",
            "Touches of reserved registers",
            "register",
            registers.reserved,
        ),
    )
    for name, text, label, counts in counted:
        family = CounterMetricFamily(name, text, labels=[label])
        for value, count in sorted(counts.items()):
            family.add_metric([value], count)
        yield family
    yield CounterMetricFamily(
        "virtmesh_features_refused", "Times FEATURES_OK was refused", value=features_refused
    )
