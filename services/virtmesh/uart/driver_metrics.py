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

RESUMED = counter(
    "virtmesh_kernel_serial_resumed_bytes",
    "Input that the next process of the port was given, since the last one had died with it.",
    "bytes",
    "device",
)
RESTORED = counter(
    "virtmesh_kernel_serial_restored_bytes",
    "Output that a process had died with, and that is shown from what the driver keeps.",
    "bytes",
    "device",
)
LOST = counter(
    "virtmesh_kernel_serial_lost_bytes",
    "Output that a process had died with, and that the driver did not keep.",
    "bytes",
    "device",
)
REPLACED = counter(
    "virtmesh_kernel_serial_replaced",
    "Processes of the port that died and were replaced.",
    "processes",
    "device",
)


def uart_driver_metrics(ports: Mapping[str, NS16550a]) -> Iterable[Metric]:
    """Return the metrics of drivers, read now; the keys are the names of their devices."""
    yield RECEIVED.of(((name,), port.counters.received) for name, port in ports.items())
    yield SENT.of(((name,), port.counters.sent) for name, port in ports.items())
    yield OVERRUNS.of(((name,), port.overruns_seen) for name, port in ports.items())
    yield HELD_BACK.of(((name,), port.counters.held_back) for name, port in ports.items())
    yield TO_SEND.of(((name,), port.in_flight) for name, port in ports.items())
    yield RESUMED.of(((name,), port.lives.resumed) for name, port in ports.items())
    yield RESTORED.of(((name,), port.lives.restored) for name, port in ports.items())
    yield LOST.of(((name,), port.lives.lost) for name, port in ports.items())
    yield REPLACED.of(((name,), port.lives.replaced) for name, port in ports.items())
