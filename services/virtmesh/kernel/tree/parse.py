"""Reading a device tree: which devices the kernel drives, and what became of every other node.

The tree may be ours, QEMU's, or that of any board. What the kernel can't use does not end it: the
node is listed with the reason. A node is a device of the machine when a service is bound to it: by
its own properties (`virtmesh,name`, `virtmesh,endpoint`), or by its address in the machine file.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from virtmesh.kernel.tree.addresses import window
from virtmesh.kernel.tree.fdt import Node, decode
from virtmesh.kernel.tree.found import (
    Binding,
    DeviceNode,
    Fate,
    FoundMachine,
    ListedNode,
    NotUnderstood,
)
from virtmesh.kernel.tree.index import Index
from virtmesh.kernel.tree.interrupts import interrupt_of
from virtmesh.kinds import kind_of
from virtmesh.machine import NAME_PATTERN
from virtmesh_common.channel import check_address
from virtmesh_common.errors import BadMachine
from virtmesh_common.printable import printable
from virtmesh_common.sizes import MEMORY_MAX, MEMORY_MIN, PAGE
from virtmesh_common.virtio.mmio import COMPATIBLE as VIRTIO_MMIO

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from virtmesh.kernel.tree.index import Spot

RAM_DEFAULT = 64 << 20
"""RAM of a tree that names none: a boot loader would fill it in."""
USABLE = ("okay", "ok")
"""Values of `status` of a node that is to be used (2.3.4); "ok" is what old trees have."""
DEVICES_MAX = 256
"""Most devices that are driven."""
NAME_MAX = 200
"""Longest name of a machine, in characters."""
PATH_MAX = 200
"""Longest path that is listed, in characters; of a longer one the end is."""
TEXT_MAX = 300
"""Longest reason."""
ABOUT = {"/": "the machine", "/chosen": "the console", "/aliases": "other names of nodes"}
"""Nodes that describe the machine, and what is read of each."""


def parse_blob(blob: bytes, bindings: Sequence[Binding] = (), name: str = "") -> FoundMachine:
    """Find RAM and devices in a flattened device tree. `name` is another one for the machine.

    Errors: BadMachine for a blob that is no tree, and for a binding to an address without a node.
    """
    found = _Parser(Index(decode(blob)), bindings).machine()
    return replace(found, name=name) if name else found


class _Parser:
    """Reads one tree."""

    def __init__(self, index: Index, bindings: Sequence[Binding]) -> None:
        self._index = index
        self._bindings = {one.address: one for one in bindings}
        self._unused = set(self._bindings)
        self._found: list[tuple[Spot, DeviceNode]] = []
        self._listed: dict[Spot, ListedNode] = {}
        self._ram: int | None = None

    def machine(self) -> FoundMachine:
        """Return what the tree says. Errors: BadMachine."""
        for spot in self._index.spots:
            self._listed[spot] = self._list(spot)
        if self._unused:
            raise self._unbound(min(self._unused))
        self._drop_twins()
        return FoundMachine(
            name=self._name(),
            ram_size=self._ram or RAM_DEFAULT,
            devices=tuple(device for _, device in self._found),
            console=self._console(),
            nodes=tuple(self._listed.values()),
        )

    def _name(self) -> str:
        """Return the name of the machine. Every terminal shows it, so it is made fit for one."""
        model = _text_at(self._index, "/", "model").removeprefix("virtmesh,")
        return printable(model[:NAME_MAX]) or "virtmesh"

    def _list(self, spot: Spot) -> ListedNode:
        """Say what becomes of a node. A device is noted as found."""
        compatible: tuple[str, ...] = ()
        address: int | None = None
        try:
            compatible = _strings(spot.node, "compatible")
            with suppress(NotUnderstood, BadMachine):
                address, _ = window(spot, self._index)
            fate, reason = self._judge(spot, compatible, address)
        except (NotUnderstood, BadMachine) as error:
            fate, reason = Fate.NOT_UNDERSTOOD, _reason(error)
        device = self._found[-1][1].name if fate in {Fate.DRIVEN, Fate.RESERVED} else ""
        first = compatible[0][:PATH_MAX] if compatible else ""
        return ListedNode(spot.path[-PATH_MAX:], first, fate, reason[:TEXT_MAX], address, device)

    def _judge(
        self, spot: Spot, compatible: tuple[str, ...], address: int | None
    ) -> tuple[Fate, str]:
        """Return what becomes of a node, and why. Errors: NotUnderstood; BadMachine."""
        bound = "virtmesh,endpoint" in spot.node.properties or address in self._bindings
        if address is not None:
            self._unused.discard(address)
        is_reserved = bound and _text(spot.node, "status") == "reserved"
        if off := _switched_off(spot, above=is_reserved):
            return Fate.DISABLED, off
        if _text(spot.node, "device_type") == "memory":
            return Fate.READ, self._note_ram(spot)
        if bound:
            if len(self._found) == DEVICES_MAX:
                raise NotUnderstood(f"the machine has {DEVICES_MAX} devices already")
            device = self._device(spot, compatible)
            self._found.append((spot, device))
            return (Fate.RESERVED if device.reserved else Fate.DRIVEN), ""
        if _is_driven(compatible):
            window(spot, self._index)
            mend = (
                f"no service is bound to it: bind one to {address:#x}, or give it virtmesh,endpoint"
            )
            return Fate.UNBOUND, mend
        if spot.path in ABOUT:
            return Fate.READ, ABOUT[spot.path]
        if "ranges" in spot.node.properties and (not compatible or "simple-bus" in compatible):
            return Fate.READ, "a bus"
        if not compatible:
            raise NotUnderstood("it has no compatible string")
        raise NotUnderstood(f"the kernel has no driver for {compatible[0]}")

    def _note_ram(self, spot: Spot) -> str:
        """Take the size of the first memory node. Errors: NotUnderstood."""
        if self._ram is not None:
            return "more RAM: each driver has its own"
        _, size = window(spot, self._index)
        size = min(size, MEMORY_MAX) // PAGE * PAGE
        if size < MEMORY_MIN:
            raise NotUnderstood(f"{size} bytes of RAM are fewer than {MEMORY_MIN}")
        self._ram = size
        return "RAM"

    def _device(self, spot: Spot, compatible: tuple[str, ...]) -> DeviceNode:
        """Read the node of a device. Errors: NotUnderstood; BadMachine."""
        node = spot.node
        address, size = window(spot, self._index)
        binding = self._bindings.get(address) or _own_binding(node, address)
        properties = {
            key: int.from_bytes(value, "big")
            for key, value in node.properties.items()
            if len(value) == 4
        }
        if properties.get("clock-frequency") == 0:
            del properties["clock-frequency"]  # the boot loader was to fill it in
        clock = _fixed_clock(spot, self._index)
        if clock is not None:
            properties.setdefault("clock-frequency", clock)
        for key, made in binding.properties.items():
            if key in properties and properties[key] != made:
                raise NotUnderstood(
                    f"{key} is {properties[key]} here, and {binding.name} was made with {made}:"
                    " give the device the same option"
                )
        return DeviceNode(
            name=binding.name,
            compatible=compatible,
            address=address,
            size=size,
            irq=interrupt_of(spot, self._index),
            endpoint=binding.endpoint,
            handover=binding.handover,
            properties=dict(binding.properties) | properties,
            reserved=binding.reserved or _text(node, "status") == "reserved",
        )

    def _drop_twins(self) -> None:
        """Leave out devices that share a name, an interrupt or a part of their windows."""
        self._found.sort(key=lambda found: found[1].address)
        kept: list[tuple[Spot, DeviceNode]] = []
        for spot, device in self._found:
            try:
                _check_alone(device, (one for _, one in kept))
            except NotUnderstood as error:
                listed = self._listed[spot]
                self._listed[spot] = ListedNode(
                    listed.path, listed.compatible, Fate.NOT_UNDERSTOOD, str(error), listed.address
                )
            else:
                kept.append((spot, device))
        self._found = kept

    def _console(self) -> str:
        """Find the console: stdout-path of /chosen (3.6), or else the first that may be one."""
        able = {spot: device.name for spot, device in self._found if _is_console(device.compatible)}
        path = _text_at(self._index, "/chosen", "stdout-path").partition(":")[0]
        if not path.startswith("/"):
            path = _text_at(self._index, "/aliases", path)
        named = self._index.at(path) if path else None
        return able.get(named or self._index.root, next(iter(able.values()), ""))

    def _unbound(self, address: int) -> BadMachine:
        """Make the error for a binding without a node."""
        name = self._bindings[address].name
        there = [
            f"{one.address:#x} ({one.compatible})"
            for one in self._listed.values()
            if one.fate is Fate.UNBOUND and one.address is not None
        ]
        free = ", ".join(there[:16]) or "no node at all"
        return BadMachine(
            f"device tree: {name} is bound to {address:#x}, and no node is there: free are {free}"
        )


def _own_binding(node: Node, address: int) -> Binding:
    """Read the service that a node names itself. Errors: NotUnderstood; BadMachine."""
    name, endpoint = _one(node, "virtmesh,name"), _one(node, "virtmesh,endpoint")
    if not re.fullmatch(NAME_PATTERN, name):
        raise NotUnderstood(f"virtmesh,name is {name!r}: write one such as vda")
    try:
        check_address(endpoint)
    except ValueError as error:
        raise NotUnderstood(f"virtmesh,endpoint: {error}") from error
    return Binding(address, name, endpoint, _text(node, "virtmesh,handover") or None)


def _check_alone(device: DeviceNode, others: Iterable[DeviceNode]) -> None:
    """Refuse what shares something with a device before it. Errors: NotUnderstood."""
    for other in others:
        if device.name == other.name:
            raise NotUnderstood(f"another device has the name {device.name}")
        if device.irq == other.irq:
            raise NotUnderstood(
                f"{other.name} has interrupt {device.irq} too: lines are not shared"
            )
        if device.address < other.address + other.size:
            raise NotUnderstood(f"its window overlaps that of {other.name}")


def _switched_off(spot: Spot, *, above: bool) -> str:
    """Say why a node is not to be used; empty when it is. What is below such a node is not either.

    With `above`, its own status is passed over. Errors: BadMachine.
    """
    one: Spot | None = spot.parent if above else spot
    while one is not None:
        status = _text(one.node, "status") or USABLE[0]
        if status not in USABLE:
            return f'the status of {"it" if one is spot else one.path} is "{status}"'
        one = one.parent
    return ""


def _fixed_clock(spot: Spot, index: Index) -> int | None:
    """Return the rate of the first of a node's `clocks`, in Hz, where it is a fixed one."""
    clocks = spot.node.cells("clocks")
    if not clocks:
        return None
    with suppress(NotUnderstood):
        clock = index.by_phandle(clocks[0], "clocks").node
        if "fixed-clock" in clock.strings("compatible"):
            return next(iter(clock.cells("clock-frequency")), None)
    return None


def _is_driven(compatible: tuple[str, ...]) -> bool:
    """Say whether the kernel has a driver for what such a node stands for."""
    return VIRTIO_MMIO in compatible or kind_of(compatible) is not None


def _is_console(compatible: tuple[str, ...]) -> bool:
    """Say whether a node is one that a console can be on."""
    kind = kind_of(compatible)
    return kind is not None and kind.platform is not None and kind.platform.is_console


def _strings(node: Node, name: str) -> tuple[str, ...]:
    """Return a property as strings, without empty ones. Errors: BadMachine."""
    return tuple(filter(None, node.strings(name)))


def _text(node: Node, name: str) -> str:
    """Return the first string of a property; empty without one. Errors: BadMachine."""
    return next(iter(_strings(node, name)), "")


def _one(node: Node, name: str) -> str:
    """Return a property that is one string. Errors: NotUnderstood; BadMachine."""
    found = node.strings(name)
    if len(found) != 1:
        raise NotUnderstood(f"{name} must be one string")
    return found[0]


def _text_at(index: Index, path: str, name: str) -> str:
    """Return a string of the node at a path; empty where there is none that can be read."""
    spot = index.at(path)
    with suppress(BadMachine):
        return _text(spot.node, name) if spot and name else ""
    return ""


def _reason(error: Exception) -> str:
    """Return a reason in words, without what every error of a tree begins with."""
    return str(error).removeprefix("device tree: ")
