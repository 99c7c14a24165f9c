"""The registers of a device as an object that JSON can hold."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from virtmesh_common.interface import Interface, RegisterSpace
from virtmesh_common.virtio import mmio

if TYPE_CHECKING:
    from collections.abc import Sequence

    from virtmesh_client.models import DeviceDescription
    from virtmesh_common.registers import Register


def window_of(interface: Interface) -> Sequence[Register]:
    """Return all registers of a window: of a virtio device those of virtio over MMIO come first."""
    if interface.space is RegisterSpace.VIRTIO_CONFIG:
        return (*mmio.REGISTERS, *interface.registers)
    return interface.registers


def spell_interface(about: DeviceDescription, interface: Interface) -> dict[str, Any]:
    """Spell a device as an object; the registers are those of the whole window."""
    return {
        "device": about.name,
        "compatible": about.compatible,
        "virtio_device_id": about.virtio_device_id,
        "mmio_size_bytes": about.mmio_size_bytes,
        "queue_size_max": list(about.queue_size_max),
        "properties": about.properties,
        "offered_features": [{"bit": bit, "name": name} for bit, name in about.features],
        "kind": interface.kind,
        "title": interface.title,
        "space": interface.space.value,
        "registers": [spell_register(one) for one in window_of(interface)],
        "features": [{"bit": bit, "name": feature} for bit, feature in interface.features],
        "request_types": [asdict(one) for one in interface.request_types],
        "request_statuses": [
            {"number": number, "name": status} for number, status in interface.request_statuses
        ],
        "metrics": [asdict(one) | {"type": one.type.value} for one in interface.metrics],
        "figures": [
            asdict(one) | {"type": one.type.value, "labels": dict(one.labels)}
            for one in interface.figures
        ],
    }


def spell_register(register: Register) -> dict[str, Any]:
    """Spell a register as an object."""
    return {
        "name": register.name,
        "offset": register.offset,
        "size": register.size,
        "widths": list(register.widths),
        "access": register.access.value,
        "bank": register.bank,
        "reset": register.reset,
        "clause": register.clause,
        "doc": register.doc,
        "fields": [
            {
                "name": one.name,
                "low": one.low,
                "width": one.width,
                "reserved": one.reserved,
                "values": [{"value": value, "name": name} for value, name in one.values],
                "doc": one.doc,
            }
            for one in register.fields
        ],
    }
