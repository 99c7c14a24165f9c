"""Metrics of the register window of a virtio device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily

from virtmesh.register_metrics import register_metrics

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import Metric

    from virtmesh.registers import RegisterFile


def transport_metrics(registers: RegisterFile, features_refused: int) -> Iterable[Metric]:
    """Return the counters of a register file, and of refused negotiations."""
    yield from register_metrics(registers)
    yield CounterMetricFamily(
        "virtmesh_features_refused", "Times FEATURES_OK was refused", value=features_refused
    )
