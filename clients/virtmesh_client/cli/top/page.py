"""The page of one device in `virtmesh top`: every rate and latency, with what it was before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from virtmesh_client.cli.top.show import (
    NAME_WIDTH,
    NOTHING,
    STATE_STYLES,
    own_figures,
    spell_count,
    spell_latency,
)
from virtmesh_client.cli.top.spark import sparkline
from virtmesh_client.trace.decode import printable
from virtmesh_common.interface import MetricType

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import RenderableType

    from virtmesh_client.top import Row
    from virtmesh_client.top.history import History
    from virtmesh_common.interface import FigureInfo

    Value = Callable[[Row], float | None]
    Spell = Callable[[float | None], str]

LABELS_MAX = 18
"""Widest label of a figure."""
FIXED = LABELS_MAX + 2 * (8 + 1) + 1
"""Columns of a line beside its plot."""
PLOT_MIN, PLOT_MAX = 10, 120
TREND_FIXED, TREND_MAX = 20, 60
"""Of the plots of all devices: columns beside the two of a line, and their widest."""


def spelled(unit: str) -> Spell:
    """Return how a number is spelled that has a unit."""
    return lambda value: NOTHING if value is None else f"{spell_count(value)}{unit}"


def latency(value: float | None) -> str:
    """Spell a latency."""
    return spell_latency(None if value is None else int(value))


PLOTS: tuple[tuple[str, Value, Spell], ...] = (
    ("requests", lambda row: row.requests, spelled("/s")),
    ("bytes", lambda row: row.bytes, spelled("B/s")),
    ("in flight", lambda row: row.in_flight, spell_count),
    ("latency, p50", lambda row: row.p50_ns, latency),
    ("latency, p99", lambda row: row.p99_ns, latency),
    ("interrupts", lambda row: row.interrupts, spelled("/s")),
    ("notifications", lambda row: row.notifications, spelled("/s")),
    ("register accesses", lambda row: row.mmio, spelled("/s")),
)
"""What every device has: label, value, and how it is spelled."""


def draw_page(
    row: Row, history: History, *, width: int, blocks: bool = True, stale: bool = False
) -> RenderableType:
    """Draw the page of a device in so many columns."""
    head = Text(no_wrap=True, overflow="ellipsis")
    head.append(printable(row.name), style="bold")
    head.append(f"  {printable(row.state)}", style=STATE_STYLES.get(row.state, "yellow"))
    words = (row.kind, row.driver or "no driver", *row.status)
    head.append("  " + " ".join(printable(word) for word in words if word))
    parts: list[RenderableType] = [head]
    if row.why:
        parts.append(Text(printable(row.why), style="bold red", no_wrap=True, overflow="ellipsis"))
    parts += [Text(), _draw_plots(row, history, width, blocks=blocks, stale=stale)]
    return Group(*parts)


def _draw_plots(row: Row, history: History, width: int, *, blocks: bool, stale: bool) -> Table:
    """Draw a line for each value that is known: what it is now, at most, and how it went."""
    room = min(max(width - FIXED, PLOT_MIN), PLOT_MAX)
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("", no_wrap=True, overflow="ellipsis", max_width=LABELS_MAX)
    table.add_column("NOW", no_wrap=True, justify="right", min_width=8)
    table.add_column("MOST", no_wrap=True, justify="right", min_width=8)
    table.add_column("BEFORE", no_wrap=True)
    style = "dim" if stale else None
    for label, value, spell in (*PLOTS, *map(_plot_of, own_figures(row))):
        values = history.values(row.name, value)
        known = [one for one in values if one is not None]
        if not known:
            continue
        plot = Text(sparkline(values, room, blocks=blocks), style=style or "cyan")
        now = values[-1] if values else None
        table.add_row(Text(label), spell(now), spell(max(known)), plot, style=style)
    return table


def _plot_of(figure: FigureInfo) -> tuple[str, Value, Spell]:
    """Return how a figure of a kind is plotted: counters as rates, others as they are."""
    label, unit = figure.label, "B" if figure.unit == "bytes" else ""
    if figure.type is MetricType.COUNTER and not figure.is_total:
        return printable(label), lambda row: row.own.get(label), spelled(f"{unit}/s")
    return printable(label), lambda row: row.totals.get(label), spelled(unit)


def draw_trends(
    rows: Sequence[Row], history: History, *, width: int, blocks: bool = True
) -> RenderableType:
    """Draw the requests and the latency of all devices, a line for each."""
    room = min(max((width - NAME_WIDTH - TREND_FIXED) // 2, 5), TREND_MAX)
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    table.add_column(no_wrap=True, overflow="ellipsis", min_width=NAME_WIDTH, max_width=NAME_WIDTH)
    for heading in ("REQ/s", "P99"):
        table.add_column(heading, no_wrap=True, min_width=room)
        table.add_column(no_wrap=True, justify="right", min_width=6)
    for row in rows:
        requests = history.values(row.name, lambda one: one.requests)
        latencies = history.values(row.name, lambda one: one.p99_ns)
        table.add_row(
            Text(printable(row.name), style="bold"),
            Text(sparkline(requests, room, blocks=blocks), style="cyan"),
            spell_count(row.requests),
            Text(sparkline(latencies, room, blocks=blocks), style="magenta"),
            spell_latency(row.p99_ns),
        )
    return table
