"""Disks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh.telemetry.definitions import Histogram, counter, gauge, histogram

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import Metric

    from virtmesh.blk.model import BlkModel

REQUESTS = counter(
    "virtmesh_blk_requests",
    "Requests completed. `type` is the name in the specification without VIRTIO_BLK_T_, `outcome`"
    " is ok, ioerr or unsupp.",
    "requests",
    "type",
    "outcome",
)
DURATION = histogram(
    "virtmesh_blk_request_duration_seconds",
    "Time from leaving the queue to completion, by type.",
    "type",
)
BYTES = counter(
    "virtmesh_blk_transferred_bytes",
    "Bytes read, written, discarded or zeroed by successful requests.",
    "bytes",
    "type",
)
MALFORMED = counter("virtmesh_blk_malformed", "Chains refused before execution.", "chains")
TRUNCATED = counter(
    "virtmesh_blk_truncated",
    "Requests that failed since the image is shorter than the disk: someone cut it off.",
    "requests",
)
FAILURES = counter(
    "virtmesh_blk_failures",
    "Requests that failed, by cause: the name of an errno such as ENOSPC, or TRUNCATED, WRITES_LOST"
    " (an earlier flush failed), REFUSED, INJECTED (a fault on demand), NOT_RECORDED (the write log"
    " could not be written), INTERNAL or OTHER.",
    "requests",
    "type",
    "cause",
)
POLLS = counter(
    "virtmesh_blk_polls",
    "Polls of a ring before its thread sleeps (--poll-us), by outcome: won if they found a request,"
    " else lost.",
    "polls",
    "outcome",
)
IMAGE_TROUBLE = gauge(
    "virtmesh_blk_image_trouble",
    "1 while the image is deleted, replaced, cut off or used by a loop device.",
    "",
)
IN_FLIGHT = gauge("virtmesh_blk_in_flight_requests", "Requests being executed.", "requests")
HELD = gauge(
    "virtmesh_blk_held_requests",
    "Requests that the storage failed, and that are held and tried again (--on-error stop).",
    "requests",
)
LONGEST = gauge(
    "virtmesh_blk_longest_request_seconds",
    "Time for which the request has been executed that began first; 0 without one. One that is"
    " there for seconds waits for the storage.",
    "seconds",
)
CAPACITY = gauge("virtmesh_blk_capacity_bytes", "Capacity of the disk.", "bytes")
ALLOCATED = gauge("virtmesh_blk_allocated_bytes", "Storage that the image takes.", "bytes")
READ_ONLY = gauge("virtmesh_blk_read_only", "1 while writes are refused.", "")
WRITE_BACK = gauge("virtmesh_blk_write_back", "1 while writes are volatile until a flush.", "")

OUTCOMES = ("ok", "ioerr", "unsupp")


def blk_metrics(model: BlkModel) -> Iterable[Metric]:
    """Return the metrics of a disk, read now from its native counters."""
    disk = model.disk
    stats, latencies = sorted(disk.stats().items()), disk.latencies()
    yield REQUESTS.of(
        ((kind, outcome), count)
        for kind, counts in stats
        for outcome, count in zip(OUTCOMES, counts, strict=False)
    )
    yield DURATION.histograms(
        ((kind,), Histogram.counted(disk.latency_bounds, latencies[kind], busy_us / 1e6))
        for kind, (*_, busy_us) in stats
    )
    yield BYTES.of(((kind,), moved) for kind, (_, _, _, moved, _) in stats)
    yield MALFORMED.one(disk.malformed)
    yield TRUNCATED.one(disk.truncated)
    yield FAILURES.of(
        ((kind, cause), count)
        for kind, causes in sorted(disk.failure_counts().items())
        for cause, count in causes.items()
    )
    won, lost = disk.polls
    yield POLLS.of([(("won",), won), (("lost",), lost)])
    yield IMAGE_TROUBLE.one(bool(model.watch.trouble))
    yield IN_FLIGHT.one(disk.in_flight)
    yield HELD.one(disk.held)
    longest = model.longest()
    yield LONGEST.one(0.0 if longest is None else longest.seconds)
    yield CAPACITY.one(disk.capacity)
    yield ALLOCATED.one(disk.allocated)
    yield READ_ONLY.one(disk.read_only)
    yield WRITE_BACK.one(disk.write_back)
