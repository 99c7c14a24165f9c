"""The kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh.blk.driver import VirtIOBlk
from virtmesh.drivers.virtio import VirtIODriver
from virtmesh.input.driver import VirtIOInput
from virtmesh.kernel.probe import ProbeState
from virtmesh.telemetry.definitions import counter, gauge, histogram
from virtmesh.uart.driver.driver import NS16550a

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from prometheus_client import Metric

    from virtmesh.kernel.kernel import Kernel
    from virtmesh.kernel.probe import ProbedDevice
    from virtmesh.virtio.queue import VirtQueue

STATE = gauge(
    "virtmesh_kernel_device_state",
    "1 for the state that a device is in: waiting, probing, ready, failed or reserved.",
    "",
    "device",
    "state",
)
ATTACHES = counter(
    "virtmesh_kernel_attaches", "Times that a device was attached.", "attachments", "device"
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
DURATION = histogram(
    "virtmesh_kernel_request_duration_seconds",
    "Time from making a request of a disk to its completion, as its driver sees it.",
    "device",
)
WAITS = histogram(
    "virtmesh_kernel_slot_wait_duration_seconds",
    "Time that requests of a disk waited for a free slot: those that had to.",
    "device",
)
INPUT_EVENTS = counter(
    "virtmesh_kernel_input_events",
    "Input events received, since the device was attached.",
    "events",
    "device",
)
INPUT_MALFORMED = counter(
    "virtmesh_kernel_input_malformed",
    "Buffers that came back with anything but one event, since the device was attached.",
    "buffers",
    "device",
)
INPUT_CUT_OFF = counter(
    "virtmesh_kernel_input_watchers_cut_off",
    "Readers of events that did not keep up, since the device was attached.",
    "readers",
    "device",
)
SERIAL_RECEIVED = counter(
    "virtmesh_kernel_serial_received_bytes",
    "Characters read from a serial port, since the device was attached.",
    "bytes",
    "device",
)
SERIAL_SENT = counter(
    "virtmesh_kernel_serial_sent_bytes",
    "Characters written to a serial port, since the device was attached.",
    "bytes",
    "device",
)
SERIAL_OVERRUNS = counter(
    "virtmesh_kernel_serial_overruns_seen",
    "Times that LSR showed an overrun; each stands for one lost character or more.",
    "overruns",
    "device",
)
SERIAL_HELD_BACK = counter(
    "virtmesh_kernel_serial_held_back",
    "Times that the receive queue was full, since nobody read it.",
    "times",
    "device",
)
SERIAL_TO_SEND = gauge(
    "virtmesh_kernel_serial_unsent_bytes", "Characters that wait to be sent.", "bytes", "device"
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


def kernel_metrics(kernel: Kernel) -> Iterable[Metric]:
    """Return the metrics of a kernel, read now."""
    devices = kernel.devices
    yield STATE.of(
        ((name, one.name.lower()), device.state is one)
        for name, device in devices.items()
        for one in ProbeState
    )
    yield ATTACHES.of(((name,), device.attaches) for name, device in devices.items())
    # What guests drive is counted by its own service alone.
    mine = {name: device for name, device in devices.items() if not device.node.reserved}
    yield REQUESTS.of(((name,), device.requests) for name, device in mine.items())
    yield from _queue_metrics(devices.values())
    disks = [
        (device.node.name, device.driver)
        for device in devices.values()
        if isinstance(device.driver, VirtIOBlk)
    ]
    yield DURATION.histograms(((name,), disk.durations) for name, disk in disks)
    yield WAITS.histograms(((name,), disk.slots.waits) for name, disk in disks)
    inputs = [
        (device.node.name, device.driver)
        for device in devices.values()
        if isinstance(device.driver, VirtIOInput)
    ]
    yield INPUT_EVENTS.of(((name,), one.log.count) for name, one in inputs)
    yield INPUT_MALFORMED.of(((name,), one.malformed) for name, one in inputs)
    yield INPUT_CUT_OFF.of(((name,), one.log.cut_off) for name, one in inputs)
    yield from _serial_metrics(devices.values())
    lines = kernel.irq.lines
    yield INTERRUPTS.of(((str(line.irq),), line.handled) for line in lines)
    yield SPURIOUS.of(((str(line.irq),), line.spurious) for line in lines)


def _serial_metrics(devices: Iterable[ProbedDevice]) -> Iterable[Metric]:
    """Return the metrics of all serial ports."""
    ports = [
        ((device.node.name,), device.driver)
        for device in devices
        if isinstance(device.driver, NS16550a)
    ]
    yield SERIAL_RECEIVED.of((labels, port.counters.received) for labels, port in ports)
    yield SERIAL_SENT.of((labels, port.counters.sent) for labels, port in ports)
    yield SERIAL_OVERRUNS.of((labels, port.overruns_seen) for labels, port in ports)
    yield SERIAL_HELD_BACK.of((labels, port.counters.held_back) for labels, port in ports)
    yield SERIAL_TO_SEND.of((labels, port.in_flight) for labels, port in ports)


def _queue_metrics(devices: Iterable[ProbedDevice]) -> Iterable[Metric]:
    """Return the metrics of all virtqueues."""
    queues = list(_queues(devices))
    yield IN_FLIGHT.of((labels, queue.in_flight) for labels, queue in queues)
    yield QUEUE_SIZE.of((labels, queue.layout.size) for labels, queue in queues)
    yield NOTIFICATIONS.of((labels, queue.notifications) for labels, queue in queues)
    yield SUPPRESSED.of((labels, queue.notifications_suppressed) for labels, queue in queues)


def _queues(devices: Iterable[ProbedDevice]) -> Iterator[tuple[tuple[str, str], VirtQueue]]:
    """Return the queues in use, by device and index."""
    for device in devices:
        if isinstance(device.driver, VirtIODriver):
            for queue in device.driver.queues:
                yield (device.node.name, str(queue.index)), queue
