"""What became of everything that was sent to the devices, from their counters."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from virtmesh_common.errors import VirtmeshError
from virtmesh_common.virtio.ids import VirtioId

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from virtmesh_client.machine import Machine
    from virtmesh_client.models import DeviceInfo

Counters = dict[str, int]
"""Counters of a device by name; none for one that did not answer."""

UART = "ns16550a"
STATES = ("packets_waiting", "waiting_bytes")
"""What is no counter: it says how many there are now."""


def read_counters(machine: Machine, devices: Sequence[DeviceInfo]) -> dict[str, Counters]:
    """Ask all devices for their counters. One that does not answer has none."""
    counters = {}
    for device in devices:
        try:
            counters[device.name] = read_device(machine, device)
        except VirtmeshError:
            counters[device.name] = {}
    return counters


def read_device(machine: Machine, device: DeviceInfo) -> Counters:
    """Ask a device for its counters. Errors: VirtmeshError."""
    if device.virtio_device_id == VirtioId.INPUT:
        with machine.input(device.name) as desk:
            return asdict(desk.stats())
    if device.virtio_device_id == VirtioId.BLOCK:
        return {
            f"{one.type} {name}": count
            for one in machine.disk(device.name).stats().requests
            for name, count in (
                ("ok", one.ok),
                ("with an I/O error", one.io_errors),
                ("unsupported", one.unsupported),
            )
        }
    if UART in device.compatible:
        return asdict(machine.serial(device.name).stats())
    return {}


def spell_account(before: Mapping[str, Counters], now: Mapping[str, Counters]) -> str:
    """Say what has changed between two readings, a line for each device."""
    return "\n".join(f"{name}: {spell_device(before.get(name, {}), now[name])}" for name in now)


def spell_device(before: Counters, now: Counters) -> str:
    """Say what has changed. Counters that went back are those of a service that was restarted."""
    if not now:
        return "does not answer" if before else "has no counters"
    restarted = any(now[key] < before.get(key, 0) for key in now if key not in STATES)
    if restarted:
        before = {}
    changed = {
        key: value if key in STATES else value - before.get(key, 0) for key, value in now.items()
    }
    words = [f"{count} {key.replace('_', ' ')}" for key, count in changed.items() if count]
    text = ", ".join(words) or "nothing"
    return f"{text} (since its service was restarted)" if restarted else text
