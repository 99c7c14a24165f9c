"""Rates: what a machine did between two samples."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from virtmesh_common.interface import FigureInfo, MetricType

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from virtmesh_client.top.sample import DeviceSample, Sample

NOTIFICATIONS = ("notifications_eventfd", "notifications_mmio", "notifications_rpc")
MMIO = ("mmio_reads", "mmio_writes")


@dataclass(frozen=True)
class Row:
    """One device between two samples. Rates are per second; None where there is nothing to say."""

    name: str
    state: str
    """How far the kernel is with it: "ready", "waiting", ...; "lost" when it does not answer."""
    driver: str
    status: tuple[str, ...]
    requests: float | None = None
    bytes: float | None = None
    in_flight: int | None = None
    p50_ns: int | None = None
    p99_ns: int | None = None
    interrupts: float | None = None
    interrupts_suppressed: float | None = None
    """Part of the interrupts that were not raised since the driver asked for none: 0 to 1."""
    notifications: float | None = None
    mmio: float | None = None
    kind: str = ""
    """Kind of the device; empty when it does not describe itself."""
    figures: tuple[FigureInfo, ...] = ()
    """What its kind has to show."""
    own: dict[str, float] = field(default_factory=dict)
    """Rates of those that are counters, per second, by label."""
    totals: dict[str, float] = field(default_factory=dict)
    """All of them as they are."""
    why: str = ""
    """What is wrong with it; empty when nothing is."""


def rows_between(before: Sample, after: Sample) -> list[Row]:
    """Return the devices of the later sample, with their rates."""
    known = {device.info.name: device for device in before.devices}
    return [row_between(known.get(one.info.name), one) for one in after.devices]


def row_between(before: DeviceSample | None, after: DeviceSample) -> Row:
    """Return one device. Without a sample before, or a restart in between, it has no rates."""
    info = after.info
    base = Row(
        name=info.name,
        state="lost" if after.gone else info.state,
        driver=info.driver,
        status=after.status,
        kind=after.kind,
        figures=after.figures,
        totals=after.own,
        in_flight=in_flight(after),
        p50_ns=percentile(after.latencies_ns, 50),
        p99_ns=percentile(after.latencies_ns, 99),
        why=after.fault or info.detail or after.gone,
    )
    if before is None or after.gone or before.gone or restarted(before, after):
        return base
    seconds = after.time - before.time
    if seconds <= 0:
        return base

    def rate(*names: str) -> float:
        return sum(after.counters[name] - before.counters[name] for name in names) / seconds

    own = {
        one.label: (after.own[one.label] - before.own.get(one.label, 0)) / seconds
        for one in after.figures
        if one.type is MetricType.COUNTER and one.label in after.own
    }
    raised, suppressed = rate("interrupts"), rate("interrupts_suppressed")
    due = raised + suppressed
    return Row(
        **{
            **vars(base),
            "requests": rate("requests"),
            "bytes": bytes_of(after, own),
            "interrupts": raised,
            "interrupts_suppressed": suppressed / due if due else None,
            "notifications": rate(*NOTIFICATIONS),
            "mmio": rate(*MMIO),
            "own": own,
        }
    )


def restarted(before: DeviceSample, after: DeviceSample) -> bool:
    """Say whether the device's service counts anew."""
    return any(after.counters[name] < count for name, count in before.counters.items())


def moves_bytes(figure: FigureInfo) -> bool:
    """Say whether a figure is part of what BYTES/s shows."""
    return figure.type is MetricType.COUNTER and figure.unit == "bytes" and not figure.is_total


def counts_in_flight(figure: FigureInfo) -> bool:
    """Say whether a figure is part of what FLT shows: requests that are being executed."""
    return figure.type is MetricType.GAUGE and figure.unit == "requests"


def bytes_of(device: DeviceSample, rates: dict[str, float]) -> float | None:
    """Return the bytes that a device moves, per second, where it moves bytes."""
    found = [rates[one.label] for one in device.figures if moves_bytes(one) and one.label in rates]
    return sum(found) if found else None


def in_flight(device: DeviceSample) -> int | None:
    """Return the requests that are being executed, where a device counts them."""
    own = device.own
    found = [own[one.label] for one in device.figures if counts_in_flight(one) and one.label in own]
    return int(sum(found)) if found else None


def percentile(values: Sequence[int], percent: int) -> int | None:
    """Return a percentile of ascending values: the nearest rank."""
    if not values:
        return None
    return values[max(0, -(-percent * len(values) // 100) - 1)]


def highest(value: Callable[[Row], float | None]) -> Callable[[Row], float]:
    """Make a sort key: the highest first, those without a value last."""

    def key(row: Row) -> float:
        found = value(row)
        return 1.0 if found is None else -found

    return key


SORTS: dict[str, Callable[[Row], float | str]] = {
    "address": lambda _: "",
    "name": lambda row: row.name,
    "requests": highest(lambda row: row.requests),
    "bytes": highest(lambda row: row.bytes),
    "latency": highest(lambda row: row.p99_ns),
    "interrupts": highest(lambda row: row.interrupts),
}
"""Orders of rows; the kernel lists devices by address."""


def sort_rows(rows: Sequence[Row], order: str) -> list[Row]:
    """Sort rows; those that are equal stay in the order of their addresses."""
    return sorted(rows, key=SORTS[order])
