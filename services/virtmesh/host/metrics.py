"""Metrics that every hosted device has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily

from virtmesh import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import Metric

    from virtmesh.device import Device
    from virtmesh.host.counters import HostCounters
    from virtmesh.host.sessions import Sessions


def host_metrics(device: Device, sessions: Sessions, host: HostCounters) -> Iterable[Metric]:
    """Return the metrics of the common planes, read now."""
    state, counters, interrupt = device.state, device.counters, device.interrupt
    description = device.description
    yield InfoMetricFamily(
        "virtmesh_device",
        "What the device is",
        value={"kind": description.kind, "version": __version__},
    )
    notifications = CounterMetricFamily(
        "virtmesh_notifications", "Queue notifications received", labels=["kind"]
    )
    notifications.add_metric(["eventfd"], counters.notifications_eventfd)
    notifications.add_metric(["mmio"], counters.notifications_mmio)
    notifications.add_metric(["rpc"], host.notifications_rpc)
    yield notifications
    for name, text, value in (
        ("virtmesh_register_messages", "Register messages on streams", host.mmio_messages),
        ("virtmesh_interrupts", "Interrupts raised", interrupt.sequence),
        (
            "virtmesh_interrupts_suppressed",
            "Used-buffer interrupts not raised: the driver asked for none",
            interrupt.suppressed,
        ),
        ("virtmesh_requests", "Requests completed, whatever their outcome", counters.requests),
        ("virtmesh_resets", "Resets", counters.resets),
        ("virtmesh_attaches", "Drivers that attached", sessions.attaches),
    ):
        yield CounterMetricFamily(name, text, value=value)
    for name, text, level in (
        ("virtmesh_attached", "1 while a driver is attached", sessions.holder is not None),
        ("virtmesh_device_status", "Device status field", state.device_status),
        ("virtmesh_needs_reset", "1 while the device asks for a reset", bool(state.fault)),
    ):
        yield GaugeMetricFamily(name, text, value=level)
