"""The machine at a glance."""

from __future__ import annotations

from virtmesh.dashboards.board import (
    NUMBER,
    STATES,
    Board,
    Panel,
    Row,
    of_services,
    quantiles,
    rate,
)

FIRING = 'ALERTS{alertname=~"Virtmesh.*",alertstate="firing"}'

READY = (
    'virtmesh_kernel_device_state{$sel,state="ready"}'
    ' or virtmesh_cpu_device_state{$sel,state="ready"}'
)
"""A machine has a kernel service or a CPU."""

UP = "up{$services} or virtmesh_machine_device_up{$machines}"
"""Whoever drives the devices gathers for them; a device may be scraped by itself as well."""

BOARD = Board(
    uid="virtmesh-overview",
    title="virtmesh",
    meaning="A machine at a glance: its services, its devices, and how busy they are.",
    rows=(
        Row(
            "Health",
            (
                Panel(
                    "Services up",
                    "Services that say what they measure, to Prometheus or to who gathers.",
                    "none",
                    [(f"sum({UP})", "up")],
                    NUMBER,
                    width=4,
                    height=4,
                ),
                Panel(
                    "Services down",
                    "Services that do not answer. See the alert VirtmeshServiceDown.",
                    "none",
                    [(f"sum(1 - ({UP}))", "down")],
                    NUMBER,
                    width=4,
                    height=4,
                    limits=[1],
                ),
                Panel(
                    "Devices ready",
                    "Devices that the kernel, or the CPU, has in use.",
                    "none",
                    [(f"sum({READY})", "ready")],
                    NUMBER,
                    width=4,
                    height=4,
                ),
                Panel(
                    "Devices that ask for a reset",
                    "Devices whose driver broke a rule (DEVICE_NEEDS_RESET).",
                    "none",
                    [("sum(virtmesh_needs_reset{$sel})", "devices")],
                    NUMBER,
                    width=4,
                    height=4,
                    limits=[1],
                ),
                Panel(
                    "Alerts",
                    "Alerts of virtmesh that fire now.",
                    "none",
                    [
                        (
                            f"count({FIRING}) or vector(0)",
                            "firing",
                        )
                    ],
                    NUMBER,
                    width=4,
                    height=4,
                    limits=[1],
                ),
                Panel(
                    "Youngest process",
                    "Time since the last start of a service: a small value after a restart.",
                    "s",
                    [
                        (
                            "time() - max(process_start_time_seconds{$services})",
                            "age",
                        )
                    ],
                    NUMBER,
                    width=4,
                    height=4,
                ),
                Panel(
                    "States of the devices",
                    "What the kernel, or the CPU, makes of each device, over time.",
                    "none",
                    [(READY, "{{device}}")],
                    STATES,
                    width=12,
                    limits=[1],
                    reversed=True,
                    names={"0": "not ready", "1": "ready"},
                ),
                Panel(
                    "Lines in the logs",
                    "Lines that the services log, by level. Errors are faults of the services.",
                    "ops",
                    [
                        (
                            "sum by (level) (rate(virtmesh_log_lines_total{$machines}[$rate]))",
                            "{{level}}",
                        )
                    ],
                    width=12,
                ),
            ),
        ),
        Row(
            "Work",
            (
                Panel(
                    "Requests",
                    "Requests that devices complete: of input devices events, of serial ports"
                    " characters.",
                    "reqps",
                    [("machine_device:virtmesh_requests:rate1m{$sel}", "{{device}}")],
                ),
                Panel(
                    "Register accesses",
                    "Reads and writes of the register window that were executed.",
                    "ops",
                    [
                        rate(
                            "virtmesh_register_accesses_total",
                            "{{device}} {{direction}}",
                            "device, direction",
                        )
                    ],
                ),
                Panel(
                    "Latency of disks",
                    "Time of requests as the drivers of disks see it.",
                    "s",
                    quantiles(
                        "virtmesh_kernel_request_duration_seconds_bucket", "device", "{{device}}"
                    ),
                    limits=[0.1, 1],
                ),
                Panel(
                    "Notifications",
                    "Doorbells that devices heard.",
                    "ops",
                    [("machine_device:virtmesh_notifications:rate1m{$sel}", "{{device}}")],
                ),
                Panel(
                    "Interrupts",
                    "Interrupts that devices raised, and those that drivers asked not to have.",
                    "ops",
                    [
                        ("machine_device:virtmesh_interrupts:rate1m{$sel}", "{{device}} raised"),
                        rate("virtmesh_interrupts_suppressed_total", "{{device}} suppressed"),
                    ],
                ),
                Panel(
                    "Resets",
                    "Resets of devices in the last five minutes.",
                    "none",
                    [("sum by (device) (increase(virtmesh_resets_total{$sel}[5m]))", "{{device}}")],
                ),
            ),
        ),
        Row(
            "Processes",
            (
                Panel(
                    "Processor time",
                    "Cores that each service uses.",
                    "short",
                    [
                        (
                            of_services("rate(process_cpu_seconds_total{$services}[$rate])"),
                            "{{device}}",
                        )
                    ],
                ),
                Panel(
                    "Memory",
                    "Resident memory of each service; guest memory counts at those that map it.",
                    "bytes",
                    [
                        (
                            of_services("process_resident_memory_bytes{$services}"),
                            "{{device}}",
                        )
                    ],
                ),
                Panel(
                    "Open files",
                    "File descriptors of each service: sockets, eventfds, images.",
                    "none",
                    [
                        (
                            of_services("process_open_fds{$services}"),
                            "{{device}}",
                        )
                    ],
                ),
            ),
        ),
    ),
)
