"""The device tree of a machine: made from a machine file, and read back as a kernel reads it.

The tree is like that of QEMU's RISC-V `virt` board: RAM at 0x8000_0000, serial port at 0x1000_0000,
virtio-mmio slots from 0x1000_1000; `stdout-path` of /chosen says where the console is. Three
properties say how to reach the service behind a node: `virtmesh,name`, `virtmesh,endpoint` and,
where the device can't say it itself, `virtmesh,handover`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

from virtmesh.kernel.fdt import Node, cells, cells64, decode, encode, strings
from virtmesh.kinds import kind_of
from virtmesh.machine import NAME_PATTERN, RAM_ADDRESS, DeviceEntry, Machine, check_memory
from virtmesh_common.channel import check_address
from virtmesh_common.errors import BadMachine

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

INTERRUPT_PARENT = 1
"""Phandle of the interrupt controller."""
PLIC_ADDRESS = 0x0C00_0000
"""Guest physical address of the interrupt controller on the `virt` board."""
PLIC_SIZE = 0x60_0000
"""Size of its register window, in bytes."""
PLIC_SOURCES = 95
"""Interrupt sources of it (riscv,ndev)."""


@dataclass(frozen=True)
class DeviceNode:
    """A device found in a device tree. Addresses are guest physical, sizes in bytes."""

    name: str
    compatible: tuple[str, ...]
    address: int
    size: int
    irq: int
    endpoint: str
    handover: str | None = None
    properties: Mapping[str, int] = field(default_factory=dict)
    """The properties of one cell, such as `clock-frequency`."""
    reserved: bool = False
    """Left to guests: the property `status` is "reserved" (Devicetree Specification 0.4, 2.3.4)."""


@dataclass(frozen=True)
class FoundMachine:
    """What a device tree says: the machine's name, its RAM, its devices by ascending address."""

    name: str
    ram_address: int
    ram_size: int
    devices: tuple[DeviceNode, ...]
    console: str = ""
    """Name of the device that the console is on; empty without one."""


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


def parse_blob(blob: bytes) -> FoundMachine:
    """Find RAM and devices in a flattened device tree.

    A virtio-mmio node without a `virtmesh,endpoint` (one of QEMU's own) is passed over.
    Errors: BadMachine.
    """
    root = decode(blob)
    ram: tuple[int, int] | None = None
    devices: list[tuple[str, DeviceNode]] = []
    for path, node, parent in root.walk():
        if parent is None:
            continue
        if node.strings("device_type") == ("memory",) and ram is None:
            ram = _reg(path, node, parent)
        if "virtmesh,endpoint" in node.properties:
            devices.append((path, _found(path, node, parent)))
    if ram is None:
        raise BadMachine("device tree: it has no memory node")
    try:
        check_memory(ram[1])
    except ValueError as error:
        raise BadMachine(f"device tree: {error}") from error
    devices.sort(key=lambda found: found[1].address)
    _no_twins([device for _, device in devices])
    model = _one(root, "model", default="virtmesh")
    return FoundMachine(
        name=model.removeprefix("virtmesh,"),
        ram_address=ram[0],
        ram_size=ram[1],
        devices=tuple(device for _, device in devices),
        console=_console(root, devices),
    )


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


def _found(path: str, node: Node, parent: Node) -> DeviceNode:
    """Read the node of a device."""
    address, size = _reg(path, node, parent)
    interrupts = node.cells("interrupts")
    if len(interrupts) != 1:
        raise BadMachine(f"device tree: {path} must have one interrupt, it has {len(interrupts)}")
    name = _one(node, "virtmesh,name")
    if not re.fullmatch(NAME_PATTERN, name):
        raise BadMachine(f"device tree: {path}: virtmesh,name is {name!r}: write one such as vda")
    endpoint = _one(node, "virtmesh,endpoint")
    try:
        check_address(endpoint)
    except ValueError as error:
        raise BadMachine(f"device tree: {path}: virtmesh,endpoint: {error}") from error
    return DeviceNode(
        name=name,
        compatible=node.strings("compatible"),
        address=address,
        size=size,
        irq=interrupts[0],
        endpoint=endpoint,
        handover=_one(node, "virtmesh,handover", default="") or None,
        properties={
            key: int.from_bytes(value, "big")
            for key, value in node.properties.items()
            if len(value) == 4
        },
        reserved=_one(node, "status", default="okay") == "reserved",
    )


def _is_console(compatible: tuple[str, ...]) -> bool:
    """Say whether a node is one that a console can be on."""
    kind = kind_of(compatible)
    return kind is not None and kind.platform is not None and kind.platform.is_console


def _console(root: Node, devices: Sequence[tuple[str, DeviceNode]]) -> str:
    """Find the console: stdout-path of /chosen (3.6), or else the first that may be one."""
    children = {child.name: child for child in root.children}
    stdout = _one(children.get("chosen", Node("chosen")), "stdout-path", default="")
    path = stdout.partition(":")[0]
    if not path.startswith("/"):
        path = _one(children.get("aliases", Node("aliases")), path, default="")
    able = [(place, one.name) for place, one in devices if _is_console(one.compatible)]
    return dict(able).get(path, able[0][1] if able else "")


def _reg(path: str, node: Node, parent: Node) -> tuple[int, int]:
    """Read the first pair of a `reg` property, as the parent's cell counts shape it (2.3.6)."""
    address_cells = _count(parent, "#address-cells", default=2)
    size_cells = _count(parent, "#size-cells", default=1)
    reg = node.cells("reg")
    if len(reg) < address_cells + size_cells:
        raise BadMachine(f"device tree: reg of {path} is too short")
    size = _number(reg[address_cells : address_cells + size_cells])
    if size == 0:
        raise BadMachine(f"device tree: reg of {path} has no size")
    return _number(reg[:address_cells]), size


def _count(node: Node, name: str, *, default: int) -> int:
    """Read the number of cells of an address or a size: 1 or 2 (2.3.5)."""
    found = node.cells(name) or (default,)
    if len(found) != 1 or found[0] not in (1, 2):
        raise BadMachine(f"device tree: {name} of {node.name or '/'} must be 1 or 2")
    return found[0]


def _number(parts: tuple[int, ...]) -> int:
    """Join cells to one number."""
    number = 0
    for part in parts:
        number = number << 32 | part
    return number


def _one(node: Node, name: str, default: str | None = None) -> str:
    """Read a property that is one string."""
    found = node.strings(name)
    if not found and default is not None:
        return default
    if len(found) != 1:
        raise BadMachine(f"device tree: {name} of {node.name or '/'} must be one string")
    return found[0]


def _no_twins(devices: Sequence[DeviceNode]) -> None:
    """Refuse devices, by address, that share a name, an interrupt, or a part of their windows."""
    for key in ("name", "irq"):
        values = [getattr(device, key) for device in devices]
        if len(set(values)) < len(values):
            raise BadMachine(f"device tree: two devices share one {key}")
    for one, other in pairwise(devices):
        if one.address + one.size > other.address:
            raise BadMachine(f"device tree: the windows of {one.name} and {other.name} overlap")
