"""Drivers of input devices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh.telemetry.definitions import counter

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from prometheus_client import Metric

    from virtmesh.input.driver import VirtIOInput

EVENTS = counter(
    "virtmesh_kernel_input_events",
    "Input events received, from all processes of the device.",
    "events",
    "device",
)
MALFORMED = counter(
    "virtmesh_kernel_input_malformed",
    "Buffers that came back with anything but one event, since the device was attached.",
    "buffers",
    "device",
)
CUT_OFF = counter(
    "virtmesh_kernel_input_watchers_cut_off",
    "Readers of events that did not keep up.",
    "readers",
    "device",
)

RESUMED = counter(
    "virtmesh_kernel_input_packets_resumed",
    "Packets that the next process of the device was given, since the last one had died with them.",
    "packets",
    "device",
)
LOST = counter(
    "virtmesh_kernel_input_packets_lost",
    "Packets of which nobody knows whether they came, since their process has died.",
    "packets",
    "device",
)
REPLACED = counter(
    "virtmesh_kernel_input_replaced",
    "Processes of the device that died and were replaced.",
    "processes",
    "device",
)


def input_driver_metrics(inputs: Mapping[str, VirtIOInput]) -> Iterable[Metric]:
    """Return the metrics of drivers, read now; the keys are the names of their devices."""
    yield EVENTS.of(((name,), one.log.count) for name, one in inputs.items())
    yield MALFORMED.of(((name,), one.malformed) for name, one in inputs.items())
    yield CUT_OFF.of(((name,), one.log.cut_off) for name, one in inputs.items())
    yield RESUMED.of(((name,), one.lives.resumed) for name, one in inputs.items())
    yield LOST.of(((name,), one.lives.lost) for name, one in inputs.items())
    yield REPLACED.of(((name,), one.lives.replaced) for name, one in inputs.items())
