"""Disks."""

from __future__ import annotations

from virtmesh.dashboards.board import (
    HEAT,
    NUMBER,
    Board,
    Panel,
    Row,
    quantiles,
    rate,
    rate_or_zero,
    share,
)

BUCKET = "virtmesh_blk_request_duration_seconds_bucket"
BY_TYPE = "machine_device_type"
BY_BUCKET = f"{BY_TYPE}_le:{BUCKET}:rate1m"
TYPE = "{{device}} {{type}}"

BOARD = Board(
    uid="virtmesh-block",
    title="virtmesh: block",
    meaning="Disks: throughput, latency, errors, and what the driver and the device say.",
    devices='label_values(virtmesh_blk_capacity_bytes{machine=~"$machine"}, device)',
    rows=(
        Row(
            "Disks",
            (
                Panel(
                    "Capacity",
                    "Size of the disk as drivers see it.",
                    "bytes",
                    [("virtmesh_blk_capacity_bytes{$sel}", "{{device}}")],
                    NUMBER,
                    width=6,
                    height=4,
                ),
                Panel(
                    "Allocated",
                    "Storage that the image takes; holes take none.",
                    "bytes",
                    [("virtmesh_blk_allocated_bytes{$sel}", "{{device}}")],
                    NUMBER,
                    width=6,
                    height=4,
                ),
                Panel(
                    "Writes",
                    "Whether the disk refuses writes.",
                    "none",
                    [("virtmesh_blk_read_only{$sel}", "{{device}}")],
                    NUMBER,
                    width=6,
                    height=4,
                    names={"0": "allowed", "1": "read-only"},
                ),
                Panel(
                    "Cache",
                    "Whether writes are volatile until a flush.",
                    "none",
                    [("virtmesh_blk_write_back{$sel}", "{{device}}")],
                    NUMBER,
                    width=6,
                    height=4,
                    names={"0": "write-through", "1": "write-back"},
                ),
            ),
        ),
        Row(
            "Requests",
            (
                Panel(
                    "Requests by type",
                    "Requests completed, whatever their outcome.",
                    "iops",
                    [(f"{BY_TYPE}:virtmesh_blk_requests:rate1m{{$sel}}", TYPE)],
                ),
                Panel(
                    "Throughput",
                    "Bytes of successful requests.",
                    "Bps",
                    [(f"{BY_TYPE}:virtmesh_blk_transferred_bytes:rate1m{{$sel}}", TYPE)],
                ),
                Panel(
                    "In flight",
                    "Requests being executed. Those that never end raise"
                    " VirtmeshRequestsNotCompleting.",
                    "none",
                    [("virtmesh_blk_in_flight_requests{$sel}", "{{device}}")],
                ),
                Panel(
                    "Held",
                    "Requests that the storage failed, and that are held and tried again: see"
                    " VirtmeshRequestsHeld.",
                    "none",
                    [("virtmesh_blk_held_requests{$sel}", "{{device}}")],
                    limits=[1],
                ),
                Panel(
                    "Oldest request",
                    "Time for which the request has been executed that began first. One that stays"
                    " waits for the storage: see VirtmeshStorageSilent.",
                    "s",
                    [("virtmesh_blk_longest_request_seconds{$sel}", "{{device}}")],
                    limits=[2, 10],
                ),
                Panel(
                    "Latency in the device, by type",
                    "Time from leaving the queue to completion; known to a factor of two.",
                    "s",
                    [
                        (
                            f"histogram_quantile({quantile}, {BY_BUCKET}{{$sel}})",
                            f"{TYPE} p{percent}",
                        )
                        for quantile, percent in ((0.5, 50), (0.99, 99))
                    ],
                    limits=[0.1, 1],
                ),
                Panel(
                    "Latency as the driver sees it",
                    "Time from making a request to its completion: queues and interrupts count.",
                    "s",
                    quantiles(
                        "virtmesh_kernel_request_duration_seconds_bucket", "device", "{{device}}"
                    ),
                    limits=[0.1, 1],
                ),
                Panel(
                    "How long requests took",
                    "Requests by the time they took: the brighter, the more.",
                    "s",
                    [
                        (
                            f"sum by (le) (increase({BUCKET}{{$sel}}[$rate]))",
                            "{{le}}",
                        )
                    ],
                    HEAT,
                ),
                Panel(
                    "Errors",
                    "The part of requests that failed in the last five minutes.",
                    "percentunit",
                    [("machine_device:virtmesh_blk_errors:ratio_rate5m{$sel}", "{{device}}")],
                    limits=[0.01, 0.05],
                ),
                Panel(
                    "Refused before execution",
                    "Malformed chains, and requests behind the end of a cut-off image.",
                    "ops",
                    [
                        rate("virtmesh_blk_malformed_total", "{{device}} malformed"),
                        rate("virtmesh_blk_truncated_total", "{{device}} cut off"),
                    ],
                    limits=[0.1],
                ),
                Panel(
                    "Causes of errors",
                    "Failed requests by cause: the name of a system error, or another word.",
                    "ops",
                    [
                        rate_or_zero(
                            "virtmesh_blk_failures_total",
                            "{{device}} {{type}} {{cause}}",
                            "type, cause",
                        )
                    ],
                    limits=[0.1],
                ),
                Panel(
                    "Trouble with the image",
                    "The image was deleted, replaced or cut off, or a loop device uses it too.",
                    "none",
                    [("virtmesh_blk_image_trouble{$sel}", "{{device}}")],
                    NUMBER,
                    names={"0": "none", "1": "see the log"},
                ),
                Panel(
                    "Waits for a slot",
                    "Requests that waited in the driver since its queues were full, and how long"
                    " they did on average.",
                    "short",
                    [
                        rate(
                            "virtmesh_kernel_slot_wait_duration_seconds_count",
                            "{{device}} a second",
                        ),
                        rate(
                            "virtmesh_kernel_slot_wait_duration_seconds_sum",
                            "{{device}} seconds waited a second",
                        ),
                    ],
                ),
            ),
        ),
        Row(
            "Queues and registers",
            (
                Panel(
                    "Queue depth",
                    "Chains that the device has, by queue, as the driver counts them.",
                    "none",
                    [("virtmesh_kernel_in_flight_tokens{$sel}", "{{device}} queue {{queue}}")],
                ),
                Panel(
                    "Notifications suppressed",
                    "The part of the rings that the driver saved, since the device asked for none.",
                    "percentunit",
                    [
                        share(
                            "virtmesh_kernel_notifications_suppressed_total",
                            "virtmesh_kernel_notifications_total",
                            "{{device}}",
                        )
                    ],
                ),
                Panel(
                    "Interrupts suppressed",
                    "The part of the used-buffer interrupts that the driver asked not to have.",
                    "percentunit",
                    [
                        share(
                            "virtmesh_interrupts_suppressed_total",
                            "virtmesh_interrupts_total",
                            "{{device}}",
                        )
                    ],
                ),
                Panel(
                    "Register accesses",
                    "By register and direction.",
                    "ops",
                    [
                        rate(
                            "virtmesh_register_accesses_total",
                            "{{register}} {{direction}}",
                            "register, direction",
                        )
                    ],
                    width=12,
                ),
                Panel(
                    "Register accesses refused",
                    "By reason; a driver that keeps to the rules has none.",
                    "ops",
                    [
                        rate_or_zero(
                            "virtmesh_register_refused_total", "{{device}} {{reason}}", "reason"
                        )
                    ],
                    width=12,
                    limits=[0.1],
                ),
            ),
        ),
    ),
)
