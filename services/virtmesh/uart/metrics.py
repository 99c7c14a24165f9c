"""Serial ports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh.telemetry.definitions import counter, gauge
from virtmesh.uart.chip.interrupts import BY_PRIORITY
from virtmesh.uart.port import LineError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import Metric

    from virtmesh.uart.chip.chip import Chip
    from virtmesh.uart.line.far_end import FarEnd
    from virtmesh.uart.line.line import SerialLine

# Names, not labels: a character is received and then perhaps lost, so that a sum means nothing.
RECEIVED = counter("virtmesh_uart_received_bytes", "Characters that reached the receiver.", "bytes")
TRANSMITTED = counter(
    "virtmesh_uart_transmitted_bytes", "Characters that the machine sent.", "bytes"
)
OVERRUNS = counter(
    "virtmesh_uart_overruns", "Characters lost since the receiver was full.", "characters"
)
TRANSMIT_OVERRUNS = counter(
    "virtmesh_uart_transmit_overruns", "Characters written to a full transmitter.", "characters"
)
DISCARDED = counter(
    "virtmesh_uart_discarded_bytes", "Characters thrown away by the driver.", "bytes"
)
BREAKS_SENT = counter("virtmesh_uart_breaks_sent", "Breaks sent by the machine.", "breaks")
REFUSED = counter("virtmesh_uart_refused_bytes", "Input refused, the line being full.", "bytes")
UNATTENDED = counter("virtmesh_uart_unattended_bytes", "Input that came without a driver.", "bytes")
WATCHERS_CUT_OFF = counter(
    "virtmesh_uart_watchers_cut_off", "Watchers cut off since they were too slow.", "watchers"
)
LOG_LOST = counter("virtmesh_uart_log_lost_bytes", "Output that is not in the log file.", "bytes")
LINE_ERRORS = counter(
    "virtmesh_uart_line_errors",
    "Characters received with an error. `kind` is parity, framing or break.",
    "characters",
    "kind",
)
INTERRUPTS = counter(
    "virtmesh_uart_interrupts",
    "Times that a source began to hold the interrupt line (PC16550D, table IV).",
    "interrupts",
    "source",
)
FIFO = gauge(
    "virtmesh_uart_fifo_bytes",
    "Characters in a FIFO. `fifo` is receive or transmit.",
    "bytes",
    "fifo",
)
WAITING = gauge("virtmesh_uart_waiting_bytes", "Input that waits on the line.", "bytes")
WATCHERS = gauge("virtmesh_uart_watchers", "Clients that watch.", "clients")
SCROLLBACK = gauge("virtmesh_uart_scrollback_bytes", "Output that is kept.", "bytes")

ERRORS = (LineError.PARITY, LineError.FRAMING, LineError.BREAK)


def uart_metrics(chip: Chip, line: SerialLine, far_end: FarEnd) -> Iterable[Metric]:
    """Return the metrics of a serial port, read now."""
    receiver, transmitter = chip.receiver, chip.transmitter
    yield RECEIVED.one(receiver.received)
    yield TRANSMITTED.one(chip.transmitted)
    yield OVERRUNS.one(receiver.overruns)
    yield TRANSMIT_OVERRUNS.one(transmitter.overruns)
    yield DISCARDED.one(chip.discarded)
    yield BREAKS_SENT.one(chip.breaks_sent)
    yield REFUSED.one(line.refused_bytes)
    yield UNATTENDED.one(line.unattended_bytes)
    yield WATCHERS_CUT_OFF.one(far_end.watchers_cut)
    yield LOG_LOST.one(far_end.log_lost_bytes)
    yield LINE_ERRORS.of(((one.name.lower(),), receiver.errors[one]) for one in ERRORS)
    raised = chip.interrupts.raised
    yield INTERRUPTS.of(((source.name,), raised[source.name]) for source in BY_PRIORITY)
    yield FIFO.of([(("receive",), receiver.level), (("transmit",), transmitter.level)])
    yield WAITING.one(line.waiting)
    yield WATCHERS.one(far_end.watchers)
    kept = far_end.scrollback
    yield SCROLLBACK.one(kept.end - kept.first)
