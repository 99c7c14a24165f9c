"""Every device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh.mmio.metrics import register_metrics
from virtmesh.telemetry.definitions import counter, gauge, info
from virtmesh.virtio.metrics import virtio_metrics
from virtmesh.virtio.mmio_device import VirtioMmio
from virtmesh_common import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import Metric

    from virtmesh.attach.sessions import Sessions
    from virtmesh.host.counters import HostCounters
    from virtmesh.mmio.device import Device

DEVICE = info(
    "virtmesh_device",
    "What the device is: kind, compatible string, version.",
    "kind",
    "compatible",
    "version",
)
ATTACHED = gauge("virtmesh_attached", "1 while a driver is attached.", "")
ATTACHES = counter("virtmesh_attaches", "Times that a driver attached.", "drivers")
NEEDS_RESET = gauge("virtmesh_needs_reset", "1 while the device asks for a reset.", "")
RESETS = counter("virtmesh_resets", "Resets.", "resets")
REQUESTS = counter(
    "virtmesh_requests",
    "Requests completed, with or without an error. Input devices count events, serial ports"
    " characters.",
    "requests",
)
REGISTER_MESSAGES = counter(
    "virtmesh_register_messages",
    "Batches of register accesses on streams and channels.",
    "messages",
)
NOTIFICATIONS = counter(
    "virtmesh_notifications",
    "Queue notifications received. `way` is eventfd, mmio (QueueNotify) or rpc.",
    "notifications",
    "way",
)
INTERRUPTS = counter(
    "virtmesh_interrupts",
    "Interrupts raised. A level-triggered line counts each rise.",
    "interrupts",
)
INTERRUPTS_SUPPRESSED = counter(
    "virtmesh_interrupts_suppressed",
    "Used-buffer interrupts that were not raised because the driver had disabled them.",
    "interrupts",
)


def host_metrics(device: Device, sessions: Sessions, host: HostCounters) -> Iterable[Metric]:
    """Yield the metrics that every device has, with their present values."""
    counters, interrupt, about = device.counters, device.interrupt, device.description
    yield DEVICE.facts({"kind": about.kind, "compatible": about.compatible, "version": __version__})
    yield ATTACHED.one(sessions.holder is not None)
    yield ATTACHES.one(sessions.attaches)
    yield NEEDS_RESET.one(bool(device.state.fault))
    yield RESETS.one(counters.resets)
    yield REQUESTS.one(counters.requests)
    yield REGISTER_MESSAGES.one(host.mmio_messages)
    yield NOTIFICATIONS.of(
        [
            (("eventfd",), counters.notifications_eventfd),
            (("mmio",), counters.notifications_mmio),
            (("rpc",), host.notifications_rpc),
        ]
    )
    yield INTERRUPTS.one(interrupt.sequence)
    yield INTERRUPTS_SUPPRESSED.one(interrupt.suppressed)


def device_metrics(device: Device) -> Iterable[Metric]:
    """Return the metrics of the register window and of the transport, read now."""
    yield from register_metrics(*device.register_files)
    if isinstance(device, VirtioMmio):
        yield from virtio_metrics(device)
