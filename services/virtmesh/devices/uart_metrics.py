"""Metrics of a serial port, made when a scraper asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from virtmesh.uart.interrupts import BY_PRIORITY
from virtmesh.uart.port import LineError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import Metric

    from virtmesh.uart.chip import Chip
    from virtmesh.uart.far_end import FarEnd


def uart_metrics(chip: Chip, far_end: FarEnd) -> Iterable[Metric]:
    """Return the metrics of a serial port, read now."""
    line, receiver, transmitter = chip.line, chip.receiver, chip.transmitter
    # Names, not labels: a character is received and then perhaps lost, so that a sum means nothing.
    for name, what, count in (
        ("received_bytes", "Characters that reached the receiver", receiver.received),
        ("transmitted_bytes", "Characters that the machine sent", chip.transmitted),
        ("overruns", "Characters lost since the receiver was full", receiver.overruns),
        ("transmit_overruns", "Characters written to a full transmitter", transmitter.overruns),
        ("discarded", "Characters thrown away by the driver", chip.discarded),
        ("breaks_sent", "Breaks sent by the machine", chip.breaks_sent),
        ("refused_bytes", "Input refused, the line being full", line.refused_bytes),
        ("unattended_bytes", "Input that came without a driver", line.unattended_bytes),
        ("watchers_cut", "Watchers cut off since they were too slow", far_end.watchers_cut),
        ("log_lost_bytes", "Output that is not in the log file", far_end.log_lost_bytes),
    ):
        yield CounterMetricFamily(f"virtmesh_uart_{name}", what, value=count)
    errors = CounterMetricFamily(
        "virtmesh_uart_line_errors", "Characters received with an error", labels=["kind"]
    )
    for error in (LineError.PARITY, LineError.FRAMING, LineError.BREAK):
        errors.add_metric([error.name.lower()], receiver.errors[error])
    yield errors
    interrupts = CounterMetricFamily(
        "virtmesh_uart_interrupts",
        "Times that a source began to hold the interrupt line",
        labels=["source"],
    )
    for source in BY_PRIORITY:
        interrupts.add_metric([source.name], chip.interrupts.raised[source.name])
    yield interrupts
    kept = far_end.scrollback
    levels = GaugeMetricFamily("virtmesh_uart_fifo", "Characters in a FIFO", labels=["fifo"])
    levels.add_metric(["receive"], receiver.level)
    levels.add_metric(["transmit"], transmitter.level)
    yield levels
    for name, what, value in (
        ("waiting_bytes", "Input that waits on the line", line.waiting),
        ("watchers", "Clients that watch", far_end.watchers),
        (
            "scrollback_bytes",
            "Output that is kept",
            kept.end - kept.first,
        ),
    ):
        yield GaugeMetricFamily(f"virtmesh_uart_{name}", what, value=value)
