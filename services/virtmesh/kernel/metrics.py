"""The kernel's metrics, read when somebody asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from virtmesh.drivers.blk import VirtIOBlk
from virtmesh.drivers.input import VirtIOInput
from virtmesh.kernel.probe import ProbeState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import Metric

    from virtmesh.kernel.kernel import Kernel


def collect(kernel: Kernel) -> Iterable[Metric]:
    """Return the metrics of a kernel."""
    state = GaugeMetricFamily(
        "virtmesh_kernel_device_state",
        "1 for the state that a device is in.",
        labels=["device", "state"],
    )
    in_flight = GaugeMetricFamily(
        "virtmesh_kernel_requests_in_flight", "Requests that a device has.", labels=["device"]
    )
    requests = CounterMetricFamily(
        "virtmesh_kernel_requests", "Requests that a device has completed.", labels=["device"]
    )
    waits = CounterMetricFamily(
        "virtmesh_kernel_slot_waits",
        "Requests that waited because the queues were full, since the device was attached.",
        labels=["device"],
    )
    attaches = CounterMetricFamily(
        "virtmesh_kernel_attaches", "Times that a device was attached.", labels=["device"]
    )
    events = CounterMetricFamily(
        "virtmesh_kernel_input_events",
        "Input events received, since the device was attached.",
        labels=["device"],
    )
    malformed = CounterMetricFamily(
        "virtmesh_kernel_input_malformed",
        "Buffers that came back with anything but one event, since the device was attached.",
        labels=["device"],
    )
    cut_off = CounterMetricFamily(
        "virtmesh_kernel_input_watchers_cut_off",
        "Readers of events that did not keep up, since the device was attached.",
        labels=["device"],
    )
    for name, device in kernel.devices.items():
        for one in ProbeState:
            state.add_metric([name, one.name.lower()], float(device.state is one))
        requests.add_metric([name], device.requests)
        attaches.add_metric([name], device.attaches)
        in_flight.add_metric([name], device.driver.in_flight if device.driver else 0)
        if isinstance(device.driver, VirtIOBlk):
            waits.add_metric([name], device.driver.slots.waits)
        if isinstance(device.driver, VirtIOInput):
            events.add_metric([name], device.driver.log.count)
            malformed.add_metric([name], device.driver.malformed)
            cut_off.add_metric([name], device.driver.log.cut_off)
    handled = CounterMetricFamily(
        "virtmesh_kernel_interrupts", "Interrupts handled.", labels=["irq"]
    )
    spurious = CounterMetricFamily(
        "virtmesh_kernel_interrupts_spurious", "Interrupts with nothing to do.", labels=["irq"]
    )
    for line in kernel.irq.lines:
        handled.add_metric([str(line.irq)], line.handled)
        spurious.add_metric([str(line.irq)], line.spurious)
    return (
        state,
        in_flight,
        requests,
        waits,
        events,
        malformed,
        cut_off,
        attaches,
        handled,
        spurious,
    )
