"""Drivers of disks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh.telemetry.definitions import histogram

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from prometheus_client import Metric

    from virtmesh.blk.driver import VirtIOBlk

DURATION = histogram(
    "virtmesh_kernel_request_duration_seconds",
    "Time from making a request of a disk to its completion, as its driver sees it.",
    "device",
)
WAITS = histogram(
    "virtmesh_kernel_slot_wait_duration_seconds",
    "Time that requests of a disk waited for a free slot: those that had to.",
    "device",
)


def blk_driver_metrics(disks: Mapping[str, VirtIOBlk]) -> Iterable[Metric]:
    """Return the metrics of drivers, read now; the keys are the names of their devices."""
    yield DURATION.histograms(((name,), disk.durations) for name, disk in disks.items())
    yield WAITS.histograms(((name,), disk.slots.waits) for name, disk in disks.items())
