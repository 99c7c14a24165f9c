"""Metrics of a disk, read from its native counters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import Metric
    from virtmesh_native import BlkDevice


def blk_metrics(disk: BlkDevice) -> Iterable[Metric]:
    """Return the metrics of a disk, read now."""
    requests = CounterMetricFamily(
        "virtmesh_blk_requests", "Requests completed", labels=["type", "outcome"]
    )
    moved = CounterMetricFamily(
        "virtmesh_blk_bytes",
        "Bytes transferred, discarded or zeroed by successful requests",
        labels=["type"],
    )
    busy = CounterMetricFamily(
        "virtmesh_blk_busy_seconds",
        "Time from leaving the queue to completion, summed over all requests",
        labels=["type"],
    )
    for kind, (ok, io_errors, unsupported, transferred, busy_us) in sorted(disk.stats().items()):
        for outcome, count in (("ok", ok), ("ioerr", io_errors), ("unsupp", unsupported)):
            requests.add_metric([kind, outcome], count)
        moved.add_metric([kind], transferred)
        busy.add_metric([kind], busy_us / 1e6)
    yield from (requests, moved, busy)
    yield CounterMetricFamily(
        "virtmesh_blk_malformed", "Chains refused before execution", value=disk.malformed
    )
    yield CounterMetricFamily(
        "virtmesh_blk_truncated",
        "Requests that failed since the image is shorter than the disk: someone cut it off",
        value=disk.truncated,
    )
    for name, text, value in (
        ("virtmesh_blk_in_flight", "Requests being executed", disk.in_flight),
        ("virtmesh_blk_capacity_bytes", "Capacity of the disk", disk.capacity),
        ("virtmesh_blk_allocated_bytes", "Storage that the image takes", disk.allocated),
        ("virtmesh_blk_read_only", "1 while writes are refused", disk.read_only),
        ("virtmesh_blk_write_back", "1 while writes are volatile until a flush", disk.write_back),
    ):
        yield GaugeMetricFamily(name, text, value=value)
