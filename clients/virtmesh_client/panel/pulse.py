"""The state of the machine as the page shows it: one object a second, made of two samples."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from virtmesh_client.top import Sampler, rows_between
from virtmesh_common.interface import MetricType
from virtmesh_common.printable import printable

if TYPE_CHECKING:
    from virtmesh_client.machine import Machine
    from virtmesh_client.top import Row, Sample
    from virtmesh_client.top.sample import DeviceSample

HISTORY = 120
"""Samples that a page gets at its start, for its plots."""
PLOTTED = ("requests", "interrupts", "mmio", "bytes", "p50_ns", "p99_ns")


class Pulse:
    """Takes samples. `beat` blocks: it belongs on a thread, one call at a time."""

    def __init__(self, machine: Machine) -> None:
        self._sampler = Sampler(machine)
        self._before: Sample | None = None
        self.history: deque[dict[str, Any]] = deque(maxlen=HISTORY)
        self.state: dict[str, Any] | None = None
        """The latest state; None before the first."""

    @property
    def devices(self) -> list[str]:
        """Names of the devices; none while the machine does not answer."""
        return [one["name"] for one in self.state["devices"]] if self.state else []

    def beat(self) -> dict[str, Any]:
        """Take a sample, and return the state."""
        sample = self._sampler.take()
        before, self._before = self._before or sample, sample
        rows = rows_between(before, sample)
        devices = [
            spell_device(row, device) for row, device in zip(rows, sample.devices, strict=True)
        ]
        self.state = {
            "machine": printable(sample.machine),
            "gone": printable(sample.gone),
            "time": sample.time,
            "devices": devices,
        }
        if not sample.gone:
            rates = {one["name"]: [one[key] for key in PLOTTED] for one in devices}
            self.history.append({"time": sample.time, "rates": rates})
        return self.state


def spell_device(row: Row, device: DeviceSample) -> dict[str, Any]:
    """Spell a device. Texts come from services: what is not printable in them is spelled out."""
    info = device.info
    return {
        "name": row.name,
        "state": row.state,
        "why": printable(row.why),
        "kind": printable(row.kind),
        "driver": printable(row.driver),
        "status": [printable(one) for one in row.status],
        "address": info.mmio_address,
        "irq": info.irq,
        "virtio_id": info.virtio_device_id,
        "compatible": printable(info.compatible),
        "features": [printable(one) for one in info.features],
        "doorbell": info.doorbell,
        "endpoint": printable(info.endpoint),
        "requests": row.requests,
        "bytes": row.bytes,
        "interrupts": row.interrupts,
        "notifications": row.notifications,
        "mmio": row.mmio,
        "suppressed": row.interrupts_suppressed,
        "in_flight": row.in_flight,
        "p50_ns": row.p50_ns,
        "p99_ns": row.p99_ns,
        "figures": [
            {
                "label": printable(one.label),
                "unit": printable(one.unit),
                "value": row.totals.get(one.label),
                "rate": row.own.get(one.label),
                "is_rate": one.type is MetricType.COUNTER and not one.is_total,
            }
            for one in row.figures
        ],
        "counters": device.counters,
    }
