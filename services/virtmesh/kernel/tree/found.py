"""What is found in a device tree: devices to drive, and what became of every node."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class NotUnderstood(ValueError):
    """A node can't be used; the message is the reason."""


class Fate(StrEnum):
    """What became of a node."""

    DRIVEN = "driven"
    """A service is bound to it, and the kernel drives it."""
    RESERVED = "reserved"
    """A service is bound to it, and it is left to guests."""
    DISABLED = "disabled"
    """Its `status`, or that of a bus above it, says that it is not to be used."""
    UNBOUND = "unbound"
    """The kernel has a driver for it, but no service is bound to it."""
    READ = "read"
    """It describes the machine: RAM, the console, a bus."""
    NOT_UNDERSTOOD = "not understood"
    """The kernel has no driver for it, or can't make sense of it."""


@dataclass(frozen=True)
class Binding:
    """A service for the node at an address, where the tree itself names none."""

    address: int
    name: str
    endpoint: str
    handover: str | None = None
    reserved: bool = False
    """Left to guests."""
    properties: Mapping[str, int] = field(default_factory=dict)
    """What the device was made with; what the node says of it must be the same."""


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
class ListedNode:
    """One node of a tree, and what became of it."""

    path: str
    compatible: str
    """The first of its compatible strings; empty without one."""
    fate: Fate
    reason: str
    """Why, or what it was read for; empty for a device that is driven."""
    address: int | None = None
    """Guest physical address of its first register window, where that is known."""
    device: str = ""
    """Name of the device that it is."""


@dataclass(frozen=True)
class FoundMachine:
    """What a device tree says: the machine's name, its RAM, its devices by ascending address."""

    name: str
    ram_size: int
    devices: tuple[DeviceNode, ...]
    console: str = ""
    """Name of the device that the console is on; empty without one."""
    nodes: tuple[ListedNode, ...] = ()
    """Every node, in the order of the tree."""
