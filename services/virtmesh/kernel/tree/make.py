"""The device tree of a machine, made from its machine file.

The tree is like that of QEMU's RISC-V `virt` board: RAM at 0x8000_0000, serial port at 0x1000_0000,
virtio-mmio slots from 0x1000_1000; `stdout-path` of /chosen says where the console is. Three
properties say how to reach the service behind a node: `virtmesh,name`, `virtmesh,endpoint` and,
where the device can't say it itself, `virtmesh,handover`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh.kernel.tree.fdt import Node, cells, cells64, encode, strings
from virtmesh.kinds import kind_of
from virtmesh.machine import RAM_ADDRESS

if TYPE_CHECKING:
    from virtmesh.machine import DeviceEntry, Machine

INTERRUPT_PARENT = 1
"""Phandle of the interrupt controller."""
PLIC_ADDRESS = 0x0C00_0000
"""Guest physical address of the interrupt controller on the `virt` board."""
PLIC_SIZE = 0x60_0000
"""Size of its register window, in bytes."""
PLIC_SOURCES = 95
"""Interrupt sources of it (riscv,ndev)."""


def make_blob(machine: Machine) -> bytes:
    """Make the flattened device tree of a machine (one that is resolved)."""
    devices = [_device(device) for device in machine.devices]
    soc = Node(
        "soc",
        {
            "#address-cells": cells(2),
            "#size-cells": cells(2),
            "compatible": strings("simple-bus"),
            "ranges": b"",
        },
        [_plic(), *devices],
    )
    consoles = [node for node in devices if _is_console(node.strings("compatible"))]
    chosen = Node("chosen")
    if consoles:
        chosen.properties["stdout-path"] = strings(f"/{soc.name}/{consoles[0].name}")
    memory = Node(
        f"memory@{RAM_ADDRESS:x}",
        {"device_type": strings("memory"), "reg": cells64(RAM_ADDRESS, machine.memory)},
    )
    root = Node(
        "",
        {
            "#address-cells": cells(2),
            "#size-cells": cells(2),
            "compatible": strings("riscv-virtio"),
            "model": strings(f"virtmesh,{machine.name}"),
        },
        [chosen, memory, soc],
    )
    return encode(root)


def _plic() -> Node:
    """Make the node of the interrupt controller."""
    return Node(
        f"plic@{PLIC_ADDRESS:x}",
        {
            "phandle": cells(INTERRUPT_PARENT),
            "compatible": strings("sifive,plic-1.0.0", "riscv,plic0"),
            "reg": cells64(PLIC_ADDRESS, PLIC_SIZE),
            "interrupt-controller": b"",
            "#interrupt-cells": cells(1),
            "#address-cells": cells(0),
            "riscv,ndev": cells(PLIC_SOURCES),
        },
    )


def _device(device: DeviceEntry) -> Node:
    """Make the node of a device."""
    place, platform = device.place, device.platform
    properties = {name: cells(value) for name, value in device.properties().items()}
    node = Node(
        f"{platform.node}@{place.address:x}",
        {
            "compatible": strings(platform.compatible),
            "reg": cells64(place.address, place.size),
            "interrupts": cells(place.irq),
            "interrupt-parent": cells(INTERRUPT_PARENT),
            **properties,
            "virtmesh,name": strings(device.name),
            "virtmesh,endpoint": strings(device.endpoint),
        },
    )
    if device.handover is not None:
        node.properties["virtmesh,handover"] = strings(device.handover)
    if device.vhost_user is not None:
        node.properties["status"] = strings("reserved")
    return node


def _is_console(compatible: tuple[str, ...]) -> bool:
    """Say whether a node is one that a console can be on."""
    kind = kind_of(compatible)
    return kind is not None and kind.platform is not None and kind.platform.is_console
