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
    "Input events received, since the device was attached.",
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
    "Readers of events that did not keep up, since the device was attached.",
    "readers",
    "device",
)


def input_driver_metrics(inputs: Mapping[str, VirtIOInput]) -> Iterable[Metric]:
    """Return the metrics of drivers, read now; the keys are the names of their devices."""
    yield EVENTS.of(((name,), one.log.count) for name, one in inputs.items())
    yield MALFORMED.of(((name,), one.malformed) for name, one in inputs.items())
    yield CUT_OFF.of(((name,), one.log.cut_off) for name, one in inputs.items())
