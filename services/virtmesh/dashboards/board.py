"""Dashboards as data: boards, rows, panels, and the queries that most of them need.

Expressions have words for what most of them need (virtmesh.dashboards.render.WORDS), such as
rate(virtmesh_interrupts_total{$sel}[$rate]).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

Query = tuple[str, str]
"""An expression, and the legend of its series."""

LINES, NUMBER, STATES, HEAT = "lines", "number", "states", "heat"
"""How a panel looks."""


@dataclass(frozen=True)
class Panel:
    """One panel. `limits` are the values from which on it is orange, and red; 0 to 2 of them."""

    title: str
    meaning: str
    unit: str
    queries: Sequence[Query]
    look: str = LINES
    width: int = 8
    height: int = 7
    limits: Sequence[float] = ()
    names: dict[str, str] = field(default_factory=dict)
    """Words for values, such as 0 and 1."""
    reversed: bool = False
    """Red below the limit instead of above."""


@dataclass(frozen=True)
class Row:
    """Panels under one heading."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True)
class Board:
    """A dashboard. `devices` chooses what the variable lists: a query of label_values."""

    uid: str
    title: str
    meaning: str
    rows: Sequence[Row]
    machines: str = "label_values(virtmesh_kernel_device_state, machine)"
    devices: str = 'label_values(virtmesh_device_info{machine=~"$machine"}, device)'


def quantiles(bucket: str, by: str, legend: str, chosen: str = "$sel") -> list[Query]:
    """Return the median and the 99th percentile of a histogram, by labels."""
    rates = f"sum by (machine, {by}, le) (rate({bucket}{{{chosen}}}[$rate]))"
    return [
        (f"histogram_quantile({quantile}, {rates})", f"{legend} p{round(100 * quantile)}")
        for quantile in (0.5, 0.99)
    ]


def rate(metric: str, legend: str, by: str = "device", chosen: str = "$sel") -> Query:
    """Return how often something happens in a second, by labels."""
    return f"sum by (machine, {by}) (rate({metric}{{{chosen}}}[$rate]))", legend


def of_services(expression: str) -> str:
    """Return an expression with a name for each service: that of its device, or "kernel"."""
    return f'label_replace({expression}, "device", "kernel", "device", "")'


def rate_or_zero(metric: str, legend: str, by: str) -> Query:
    """Return the same for what may never have happened: a zero for each device then."""
    expression, _ = rate(metric, legend, f"device, {by}")
    return f"{expression} or sum by (machine, device) (virtmesh_attached{{$sel}}) * 0", legend


def share(part: str, rest: str, legend: str) -> Query:
    """Return which part of the sum of two rates the first one is, by device."""
    (one, _), (other, _) = rate(part, legend), rate(rest, legend)
    return f"{one} / ({one} + {other})", legend
