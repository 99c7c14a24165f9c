"""The kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh.drivers.virtio import VirtIODriver
from virtmesh.kernel.device import STATES, shown_state
from virtmesh.kinds import all_kinds
from virtmesh.telemetry.definitions import counter, gauge, histogram

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from prometheus_client import Metric

    from virtmesh.drivers.base import Driver
    from virtmesh.kernel.device import MachineDevice
    from virtmesh.kernel.kernel import Kernel
    from virtmesh.kinds import DeviceKind
    from virtmesh.virtio.queue import VirtQueue

STATE = gauge(
    "virtmesh_kernel_device_state",
    "1 for the state that a device is in: waiting, probing, ready, failed, reserved, detached, or"
    " silent: in use, but its service does not answer.",
    "",
    "device",
    "state",
)
ATTACHES = counter(
    "virtmesh_kernel_attaches", "Times that a device was attached.", "attachments", "device"
)
RESUBMITTED = counter(
    "virtmesh_kernel_requests_resubmitted",
    "Requests that a device had when its service died, and that began again with the next one.",
    "requests",
    "device",
)
OUTAGES = histogram(
    "virtmesh_kernel_outage_duration_seconds",
    "Time from the loss of a device to its next use.",
    "device",
)
REQUESTS = counter(
    "virtmesh_kernel_requests",
    "Requests that a device has completed: of serial ports, runs of characters.",
    "requests",
    "device",
)
IN_FLIGHT = gauge(
    "virtmesh_kernel_in_flight_tokens",
    "Chains that a device has, by queue.",
    "chains",
    "device",
    "queue",
)
QUEUE_SIZE = gauge(
    "virtmesh_kernel_queue_entries", "Size of a queue, in entries.", "entries", "device", "queue"
)
NOTIFICATIONS = counter(
    "virtmesh_kernel_notifications",
    "Times that a queue was rung, since the device was attached.",
    "notifications",
    "device",
    "queue",
)
SUPPRESSED = counter(
    "virtmesh_kernel_notifications_suppressed",
    "Times that a queue was not rung, since the device asked for no notification.",
    "notifications",
    "device",
    "queue",
)
INTERRUPTS = counter(
    "virtmesh_kernel_interrupts", "Interrupts handled, by number of the line.", "interrupts", "irq"
)
SPURIOUS = counter(
    "virtmesh_kernel_interrupts_spurious",
    "Interrupts with nothing to do, by number of the line.",
    "interrupts",
    "irq",
)
LOST = counter(
    "virtmesh_kernel_interrupts_lost",
    "Times that a device had used buffers and no interrupt told so, since it was attached.",
    "interrupts",
    "device",
)


def kernel_metrics(kernel: Kernel) -> Iterable[Metric]:
    """Return the metrics of a kernel, read now."""
    devices = kernel.devices
    yield STATE.of(
        ((name, one.lower()), shown_state(device) == one)
        for name, device in devices.items()
        for one in STATES
    )
    yield ATTACHES.of(((name,), device.attaches) for name, device in devices.items())
    yield RESUBMITTED.of(((name,), device.resubmitted) for name, device in devices.items())
    yield OUTAGES.histograms(((name,), device.outages) for name, device in devices.items())
    # What guests drive is counted by its own service alone.
    mine = {name: device for name, device in devices.items() if not device.node.reserved}
    yield REQUESTS.of(((name,), device.requests) for name, device in mine.items())
    yield from _queue_metrics(devices.values())
    for kind in all_kinds():
        yield from kind.driver_metrics(_drivers(devices.values(), kind))
    virtio = _virtio_drivers(devices.values())
    yield LOST.of(((name,), driver.lost_interrupts) for name, driver in virtio)
    lines = kernel.irq.lines
    yield INTERRUPTS.of(((str(line.irq),), line.handled) for line in lines)
    yield SPURIOUS.of(((str(line.irq),), line.spurious) for line in lines)


def _drivers(devices: Iterable[MachineDevice], kind: DeviceKind) -> Mapping[str, Driver]:
    """Return the drivers of a kind that are in use, by name of the device."""
    return {
        device.node.name: device.driver
        for device in devices
        if kind.driver is not None and isinstance(device.driver, kind.driver)
    }


def _queue_metrics(devices: Iterable[MachineDevice]) -> Iterable[Metric]:
    """Return the metrics of all virtqueues."""
    queues = list(_queues(devices))
    yield IN_FLIGHT.of((labels, queue.in_flight) for labels, queue in queues)
    yield QUEUE_SIZE.of((labels, queue.layout.size) for labels, queue in queues)
    yield NOTIFICATIONS.of((labels, queue.notifications) for labels, queue in queues)
    yield SUPPRESSED.of((labels, queue.notifications_suppressed) for labels, queue in queues)


def _virtio_drivers(devices: Iterable[MachineDevice]) -> Iterator[tuple[str, VirtIODriver]]:
    """Return the drivers of virtio devices in use, by name of the device."""
    for device in devices:
        if isinstance(device.driver, VirtIODriver):
            yield device.node.name, device.driver


def _queues(devices: Iterable[MachineDevice]) -> Iterator[tuple[tuple[str, str], VirtQueue]]:
    """Return the queues in use, by device and index."""
    for name, driver in _virtio_drivers(devices):
        for queue in driver.queues:
            yield (name, str(queue.index)), queue
