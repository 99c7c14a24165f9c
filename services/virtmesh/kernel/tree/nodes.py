"""Nodes that every device tree of ours has: the devices, RAM, the console."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh.kernel.tree.fdt import Node, cells, cells64, strings
from virtmesh.kinds import kind_of
from virtmesh.machine import RAM_ADDRESS
from virtmesh.machine.board import PLIC_ADDRESS, PLIC_SIZE, PLIC_SOURCES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from virtmesh.machine import DeviceEntry


def root_node(name: str, children: Sequence[Node]) -> Node:
    """Make the root of the tree of a machine."""
    return Node(
        "",
        {
            "#address-cells": cells(2),
            "#size-cells": cells(2),
            "compatible": strings("riscv-virtio"),
            "model": strings(f"virtmesh,{name}"),
        },
        list(children),
    )


def soc_node(children: Sequence[Node]) -> Node:
    """Make the bus that devices are on."""
    return Node(
        "soc",
        {
            "#address-cells": cells(2),
            "#size-cells": cells(2),
            "compatible": strings("simple-bus"),
            "ranges": b"",
        },
        list(children),
    )


def memory_node(size: int) -> Node:
    """Make the node of RAM."""
    return Node(
        f"memory@{RAM_ADDRESS:x}",
        {"device_type": strings("memory"), "reg": cells64(RAM_ADDRESS, size)},
    )


def chosen_node(soc: Node) -> Node:
    """Make /chosen: the console is on the first node of the bus that can have it."""
    chosen = Node("chosen")
    consoles = [node for node in soc.children if is_console(node.strings("compatible"))]
    if consoles:
        chosen.properties["stdout-path"] = strings(f"/{soc.name}/{consoles[0].name}")
    return chosen


def plic_node(phandle: int) -> Node:
    """Make the node of the interrupt controller."""
    return Node(
        f"plic@{PLIC_ADDRESS:x}",
        {
            "phandle": cells(phandle),
            "compatible": strings("sifive,plic-1.0.0", "riscv,plic0"),
            "reg": cells64(PLIC_ADDRESS, PLIC_SIZE),
            "interrupt-controller": b"",
            "#interrupt-cells": cells(1),
            "#address-cells": cells(0),
            "riscv,ndev": cells(PLIC_SOURCES),
        },
    )


def device_node(device: DeviceEntry, interrupt_parent: int) -> Node:
    """Make the node of a device, as the guest of any kernel reads it."""
    place, platform = device.place, device.platform
    return Node(
        f"{platform.node}@{place.address:x}",
        {
            "compatible": strings(platform.compatible),
            "reg": cells64(place.address, place.size),
            "interrupts": cells(place.irq),
            "interrupt-parent": cells(interrupt_parent),
            **{name: cells(value) for name, value in device.properties().items()},
        },
    )


def bound_node(device: DeviceEntry, interrupt_parent: int) -> Node:
    """Make the node of a device, with how to reach its service."""
    node = device_node(device, interrupt_parent)
    node.properties |= {
        "virtmesh,name": strings(device.name),
        "virtmesh,endpoint": strings(device.endpoint),
    }
    if device.handover is not None:
        node.properties["virtmesh,handover"] = strings(device.handover)
    if device.vhost_user is not None:
        node.properties["status"] = strings("reserved")
    return node


def is_console(compatible: tuple[str, ...]) -> bool:
    """Say whether a node is one that a console can be on."""
    kind = kind_of(compatible)
    return kind is not None and kind.platform is not None and kind.platform.is_console
