"""What `virtmesh top` draws: a table of rates that fits 80 columns, and a line for each device."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from virtmesh_client.top.rates import counts_in_flight, moves_bytes
from virtmesh_client.trace.decode import printable
from virtmesh_common.interface import MetricType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from virtmesh_client.top import Row, Sample
    from virtmesh_common.interface import FigureInfo

NOTHING = "-"
NAME_WIDTH = 10
TELLING = ("FAILED", "DEVICE_NEEDS_RESET", "DRIVER_OK", "FEATURES_OK", "DRIVER", "ACKNOWLEDGE")
"""Bits of a device status (virtio 1.4, 2.1), that which says most first."""
THOUSANDS = ("", "k", "M", "G", "T", "P")
STATE_STYLES = {"ready": "green", "failed": "bold red", "lost": "bold red"}
COLUMNS = (
    "DEVICE",
    "STATE",
    "REQ/s",
    "BYTES/s",
    "FLT",
    "P50",
    "P99",
    "IRQ/s",
    "SUPP",
    "NTF/s",
    "MMIO/s",
)
"""FLT: requests in flight. SUPP: part of the interrupts that was suppressed. NTF: notifications."""


def draw(sample: Sample, rows: Sequence[Row], address: str) -> RenderableType:
    """Draw all devices."""
    return Group(
        draw_title(sample, address),
        draw_table(rows, stale=bool(sample.gone)),
        *map(draw_details, rows),
    )


def draw_title(sample: Sample, address: str) -> RenderableType:
    """Draw which machine it is, and whether it answers."""
    title = Text(no_wrap=True, overflow="ellipsis")
    title.append(printable(sample.machine) or "machine", style="bold")
    title.append(f"  {printable(address)}")
    if not sample.gone:
        return title
    return Group(title, Text(f"no answer: {printable(sample.gone)}", style="bold red"))


def draw_table(rows: Sequence[Row], *, stale: bool = False) -> Table:
    """Draw the table; what is not known any more is dim."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    for column in COLUMNS:
        left = column in {"DEVICE", "STATE"}
        table.add_column(
            column,
            justify="left" if left else "right",
            no_wrap=True,
            overflow="ellipsis",
            max_width=NAME_WIDTH if column == "DEVICE" else None,
        )
    for row in rows:
        name, state, *cells = spell_row(row)
        style = "dim" if stale else STATE_STYLES.get(row.state, "yellow")
        table.add_row(Text(name), Text(state, style=style), *cells, style="dim" if stale else None)
    return table


def spell_row(row: Row) -> list[str]:
    """Spell the cells of a device."""
    return [
        printable(row.name),
        printable(row.state),
        spell_count(row.requests),
        spell_count(row.bytes),
        NOTHING if row.in_flight is None else spell_count(row.in_flight),
        spell_latency(row.p50_ns),
        spell_latency(row.p99_ns),
        spell_count(row.interrupts),
        NOTHING if row.interrupts_suppressed is None else f"{row.interrupts_suppressed:.0%}",
        spell_count(row.notifications),
        spell_count(row.mmio),
    ]


def draw_details(row: Row) -> Text:
    """Draw what is of interest of one kind of device."""
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(f"{printable(row.name):<{NAME_WIDTH}} ", style="bold")
    text.append(
        " ".join(filter(None, [printable(row.driver) or "no driver", spell_status(row.status)]))
    )
    if row.own and (figures := spell_figures(row)):
        text.append(f"  {figures}")
    if row.why:
        text.append(f"  {printable(row.why)}", style="bold red")
    return text


def spell_status(status: Sequence[str]) -> str:
    """Return the bit of a device status that says most."""
    return next((name for name in TELLING if name in status), "")


def own_figures(row: Row) -> Sequence[FigureInfo]:
    """Return what the kind of a device has to show, but for what is alone in its column."""
    left: list[FigureInfo] = []
    for belongs in (moves_bytes, counts_in_flight):
        alone = [one for one in row.figures if belongs(one)]
        left += alone if len(alone) == 1 else []
    return [one for one in row.figures if one not in left]


def spell_figures(row: Row) -> str:
    """Spell what the kind of a device has to show, but for what is alone in its column."""
    return ", ".join(filter(None, (spell_figure(row, one) for one in own_figures(row))))


def spell_figure(row: Row, figure: FigureInfo) -> str:
    """Spell a figure; of several series of a metric, one that stands still is left out."""
    label, unit = printable(figure.label), "B" if figure.unit == "bytes" else ""
    if figure.type is MetricType.COUNTER and not figure.is_total:
        rate = row.own.get(figure.label)
        if rate is None or (figure.labels and not rate):
            return ""
        return f"{label} {spell_count(rate)}{unit}/s"
    total = row.totals.get(figure.label)
    return "" if total is None else f"{label} {total:.15g} {unit}".rstrip()


def spell_count(value: float | None) -> str:
    """Spell a number in five characters: 0.2, 37, 1234, 12.3k."""
    if value is None:
        return NOTHING
    if 0 < value < 9.95:
        return f"{value:.1f}"
    for unit in THOUSANDS:
        if value < 9999.5 or unit == THOUSANDS[-1]:
            digits = 1 if unit and value < 99.95 else 0
            return f"{value:.{digits}f}{unit}"
        value /= 1000
    raise AssertionError  # the last unit takes everything


def spell_latency(value_ns: int | None) -> str:
    """Spell a time in six characters."""
    if value_ns is None:
        return NOTHING
    microseconds = value_ns / 1e3
    if microseconds < 9999.5:
        return f"{microseconds:.0f}us"
    milliseconds = microseconds / 1e3
    return f"{milliseconds:.0f}ms" if milliseconds < 9999.5 else f"{milliseconds / 1e3:.0f}s"


def spell_sample(sample: Sample, rows: Sequence[Row]) -> dict[str, Any]:
    """Spell a screen as an object; its fields are those of Row, but `figures`."""
    return {
        "machine": sample.machine,
        "answers": not sample.gone,
        "why": sample.gone,
        "devices": [spell_row_fields(row) for row in rows],
    }


def spell_row_fields(row: Row) -> dict[str, Any]:
    """Spell a device as an object; what its figures are is told by `virtmesh registers --json`."""
    content = asdict(row)
    del content["figures"]
    return content
