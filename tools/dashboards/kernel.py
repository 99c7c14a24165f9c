"""The kernel service."""

from __future__ import annotations

from virtmesh.dashboards.board import STATES, Board, Panel, Row, quantiles, rate

STATUS_BITS = 'virtmesh_virtio_status{$sel,bit=~"DRIVER_OK|FAILED|DEVICE_NEEDS_RESET"}'
IN_FLIGHT = "virtmesh_kernel_in_flight_tokens{$sel}"

BOARD = Board(
    uid="virtmesh-kernel",
    title="virtmesh: kernel",
    meaning="The kernel service: drivers, queues, interrupts, and where devices stand.",
    devices='label_values(virtmesh_kernel_device_state{machine=~"$machine"}, device)',
    rows=(
        Row(
            "Devices",
            (
                Panel(
                    "Probe state",
                    "How far the kernel is with each device.",
                    "none",
                    [("virtmesh_kernel_device_state{$sel} == 1", "{{device}} {{state}}")],
                    STATES,
                    width=12,
                    names={"1": "is"},
                ),
                Panel(
                    "Driver status",
                    "Bits of the device status field: DRIVER_OK is set while a driver is at work.",
                    "none",
                    [(STATUS_BITS, "{{device}} {{bit}}")],
                    STATES,
                    width=12,
                    names={"0": "-", "1": "set"},
                ),
                Panel(
                    "Attachments",
                    "Times that a device was attached in the last ten minutes: more than one is a"
                    " restart.",
                    "none",
                    [
                        (
                            "sum by (device) (increase(virtmesh_kernel_attaches_total{$sel}[10m]))",
                            "{{device}}",
                        )
                    ],
                    limits=[3, 10],
                ),
                Panel(
                    "Features",
                    "Feature bits that each device has negotiated.",
                    "none",
                    [("sum by (device) (virtmesh_virtio_feature{$sel})", "{{device}}")],
                ),
                Panel(
                    "Features refused",
                    "Times that a device refused FEATURES_OK.",
                    "ops",
                    [rate("virtmesh_virtio_features_refused_total", "{{device}}")],
                    limits=[0.1],
                ),
            ),
        ),
        Row(
            "Requests",
            (
                Panel(
                    "Requests",
                    "Requests that devices have completed, as their drivers count them.",
                    "reqps",
                    [rate("virtmesh_kernel_requests_total", "{{device}}")],
                ),
                Panel(
                    "In flight",
                    "Chains that devices have, by queue.",
                    "none",
                    [(IN_FLIGHT, "{{device}} queue {{queue}}")],
                ),
                Panel(
                    "Queues filled",
                    "The part of the entries that chains in flight take; chains behind one entry"
                    " count once.",
                    "percentunit",
                    [
                        (
                            f"{IN_FLIGHT} / virtmesh_kernel_queue_entries{{$sel}}",
                            "{{device}} queue {{queue}}",
                        )
                    ],
                ),
                Panel(
                    "Latency of disks",
                    "Time from making a request to its completion.",
                    "s",
                    quantiles(
                        "virtmesh_kernel_request_duration_seconds_bucket", "device", "{{device}}"
                    ),
                    limits=[0.1, 1],
                ),
                Panel(
                    "Waits for a slot",
                    "Requests that had to wait, since the queues were full.",
                    "ops",
                    [rate("virtmesh_kernel_slot_wait_duration_seconds_count", "{{device}}")],
                ),
                Panel(
                    "Notifications",
                    "Rings of drivers, and those saved since the device asked for none.",
                    "ops",
                    [
                        rate("virtmesh_kernel_notifications_total", "{{device}} rung"),
                        rate(
                            "virtmesh_kernel_notifications_suppressed_total",
                            "{{device}} suppressed",
                        ),
                    ],
                ),
            ),
        ),
        Row(
            "Interrupts",
            (
                Panel(
                    "Handled, by line",
                    "Interrupts that a driver had something to do for.",
                    "ops",
                    [rate("virtmesh_kernel_interrupts_total", "line {{irq}}", "irq", "$machines")],
                    width=12,
                ),
                Panel(
                    "Spurious, by line",
                    "Interrupts with nothing to do.",
                    "ops",
                    [
                        rate(
                            "virtmesh_kernel_interrupts_spurious_total",
                            "line {{irq}}",
                            "irq",
                            "$machines",
                        )
                    ],
                    width=12,
                    limits=[1, 10],
                ),
            ),
        ),
    ),
)
