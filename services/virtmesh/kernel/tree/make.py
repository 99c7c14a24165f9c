"""The device tree of a machine, made from its machine file.

The tree is like that of QEMU's RISC-V `virt` board: RAM at 0x8000_0000, serial port at 0x1000_0000,
virtio-mmio slots from 0x1000_1000; `stdout-path` of /chosen says where the console is. Three
properties say how to reach the service behind a node: `virtmesh,name`, `virtmesh,endpoint` and,
where the device can't say it itself, `virtmesh,handover`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh.kernel.tree.fdt import encode
from virtmesh.kernel.tree.nodes import (
    bound_node,
    chosen_node,
    memory_node,
    plic_node,
    root_node,
    soc_node,
)

if TYPE_CHECKING:
    from virtmesh.machine import Machine

INTERRUPT_PARENT = 1
"""Phandle of the interrupt controller."""


def make_blob(machine: Machine) -> bytes:
    """Make the flattened device tree of a machine (one that is resolved)."""
    devices = [bound_node(device, INTERRUPT_PARENT) for device in machine.devices]
    soc = soc_node([plic_node(INTERRUPT_PARENT), *devices])
    return encode(root_node(machine.name, [chosen_node(soc), memory_node(machine.memory), soc]))
