"""The dashboard of a kind that has none of its own, made of the metrics that it states."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh.dashboards.board import Board, Panel, Row, quantiles, rate
from virtmesh.telemetry.definitions import MetricType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from virtmesh.telemetry.definitions import Definition

RATE_UNITS = {"bytes": "Bps", "requests": "reqps", "seconds": "percentunit"}
"""Grafana's units for what is counted in a second; "ops" for all else."""
UNITS = {"bytes": "bytes", "seconds": "s"}
"""Grafana's units for what goes up and down; "short" for all else."""

COMMON = Row(
    "Device",
    (
        Panel(
            "Requests",
            "Requests completed, well or not.",
            "reqps",
            [rate("virtmesh_requests_total", "{{device}}")],
        ),
        Panel(
            "Notifications",
            "Queue notifications that the device received, by way.",
            "ops",
            [rate("virtmesh_notifications_total", "{{device}} {{way}}", "device, way")],
        ),
        Panel(
            "Interrupts",
            "Interrupts that the device raised.",
            "ops",
            [rate("virtmesh_interrupts_total", "{{device}}")],
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
        ),
        Panel(
            "Asks for a reset",
            "1 while the device asks for a reset: its driver broke a rule.",
            "none",
            [("virtmesh_needs_reset{$sel}", "{{device}}")],
            limits=[1],
        ),
    ),
)
"""What every device measures."""


def generated_board(kind: str, title: str, metrics: Sequence[Definition]) -> Board:
    """Return a board with a panel for each metric of a kind, below what every device measures."""
    panels = [_panel(metric) for metric in metrics if metric.kind is not MetricType.INFO]
    return Board(
        uid=f"virtmesh-{kind}",
        title=f"virtmesh: {kind}",
        meaning=title,
        devices=f'label_values(virtmesh_device_info{{kind="{kind}",machine=~"$machine"}}, device)',
        rows=(COMMON, Row(kind, panels)) if panels else (COMMON,),
    )


def _panel(metric: Definition) -> Panel:
    """Return the panel of a metric."""
    name, labels = metric.full_name, ("device", *metric.labels)
    by, legend = ", ".join(labels), " ".join(f"{{{{{label}}}}}" for label in labels)
    title = name.removeprefix("virtmesh_").removesuffix("_total").replace("_", " ")
    title = title[:1].upper() + title[1:]
    meaning = metric.meaning if metric.meaning.endswith(".") else f"{metric.meaning}."
    if metric.kind is MetricType.HISTOGRAM:
        unit = UNITS.get(metric.unit, "short")
        return Panel(title, meaning, unit, quantiles(f"{name}_bucket", by, legend))
    if metric.kind is MetricType.COUNTER:
        unit = RATE_UNITS.get(metric.unit, "ops")
        return Panel(title, meaning, unit, [rate(name, legend, by)])
    return Panel(title, meaning, UNITS.get(metric.unit, "short"), [(f"{name}{{$sel}}", legend)])
