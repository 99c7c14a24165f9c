"""Drivers of serial ports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh.telemetry.definitions import counter, gauge

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from prometheus_client import Metric

    from virtmesh.uart.driver.driver import NS16550a

RECEIVED = counter(
    "virtmesh_kernel_serial_received_bytes",
    "Characters read from a serial port, since the device was attached.",
    "bytes",
    "device",
)
SENT = counter(
    "virtmesh_kernel_serial_sent_bytes",
    "Characters written to a serial port, since the device was attached.",
    "bytes",
    "device",
)
OVERRUNS = counter(
    "virtmesh_kernel_serial_overruns_seen",
    "Times that LSR showed an overrun; each stands for one lost character or more.",
    "overruns",
    "device",
)
HELD_BACK = counter(
    "virtmesh_kernel_serial_held_back",
    "Times that the receive queue was full, since nobody read it.",
    "times",
    "device",
)
TO_SEND = gauge(
    "virtmesh_kernel_serial_unsent_bytes", "Characters that wait to be sent.", "bytes", "device"
)


def uart_driver_metrics(ports: Mapping[str, NS16550a]) -> Iterable[Metric]:
    """Return the metrics of drivers, read now; the keys are the names of their devices."""
    yield RECEIVED.of(((name,), port.counters.received) for name, port in ports.items())
    yield SENT.of(((name,), port.counters.sent) for name, port in ports.items())
    yield OVERRUNS.of(((name,), port.overruns_seen) for name, port in ports.items())
    yield HELD_BACK.of(((name,), port.counters.held_back) for name, port in ports.items())
    yield TO_SEND.of(((name,), port.in_flight) for name, port in ports.items())
