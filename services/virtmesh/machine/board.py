"""Where things are on the board: the physical memory map of QEMU's RISC-V `virt` board.

https://www.qemu.org/docs/master/system/riscv/virt.html

Devices sit in the virtio-mmio slots, unless their kind is a platform device: those have places of
their own, and tell the driver what it can't find out by properties of their device tree node.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

MMIO_ADDRESS = 0x1000_1000
"""Guest physical address of virtio-mmio slot 0."""
MMIO_SIZE = 0x1000
"""Size of one virtio-mmio slot, in bytes."""
SLOTS = 8
"""Virtio-mmio slots of the board."""
FIRST_IRQ = 1
"""Interrupt number of slot 0."""


@dataclass(frozen=True)
class Place:
    """Where one device sits: guest physical address and size of its window, interrupt number."""

    address: int
    size: int
    irq: int


@dataclass(frozen=True)
class Property:
    """A property of the device tree node that is an option of the device, and its default."""

    option: str
    default: int


@dataclass(frozen=True)
class Family:
    """Devices that are found the same way: their compatible string, their places in order."""

    compatible: str
    node: str
    """Name of their nodes, before the unit address."""
    places: tuple[Place, ...]
    properties: Mapping[str, Property]
    is_console: bool = False
    """True for what a kernel can have its console on."""


VIRTIO = Family(
    compatible="virtio,mmio",
    node="virtio_mmio",
    places=tuple(
        Place(MMIO_ADDRESS + slot * MMIO_SIZE, MMIO_SIZE, FIRST_IRQ + slot) for slot in range(SLOTS)
    ),
    properties={},
)
"""What every kind is that is no platform device."""

PLATFORM: Mapping[str, Family] = {
    "uart": Family(
        compatible="ns16550a",
        node="serial",
        # The board has one, on interrupt 10; 11 is that of its clock, so more ports pass it over.
        places=tuple(
            Place(0x1000_0000 + port * 0x100, 0x100, irq)
            for port, irq in enumerate((10, 12, 13, 14))
        ),
        properties={
            "clock-frequency": Property("clock", 3_686_400),
            "reg-shift": Property("reg-shift", 0),
            "reg-io-width": Property("reg-io-width", 1),
        },
        is_console=True,
    ),
}
"""The platform devices, by kind."""


def family_of(kind: str) -> Family:
    """Return how devices of a kind are found."""
    return PLATFORM.get(kind, VIRTIO)
