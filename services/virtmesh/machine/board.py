"""Where things are on the board: the physical memory map of QEMU's RISC-V `virt` board.

https://www.qemu.org/docs/master/system/riscv/virt.html

Devices sit in the virtio-mmio slots, unless their kind is a platform device: those have places of
their own, and tell the driver what it can't find out by properties of their device tree node.
"""

from __future__ import annotations

from virtmesh.kinds import find_kind
from virtmesh.kinds.record import Place, Platform
from virtmesh_common.virtio.mmio import COMPATIBLE

MMIO_ADDRESS = 0x1000_1000
"""Guest physical address of virtio-mmio slot 0."""
MMIO_SIZE = 0x1000
"""Size of one virtio-mmio slot, in bytes."""
QEMU_SLOTS = 8
"""Virtio-mmio slots that QEMU's board has, in slot 0 and up: kernels look at all of them."""
SLOTS = 64
"""Virtio-mmio slots of the board. Those that QEMU's has not follow it, up to 0x1004_1000."""
FIRST_IRQ, FIRST_FURTHER_IRQ = 1, 36
"""Interrupt numbers of slot 0, and of the first slot that QEMU's board has not.

Between both are those that other devices have on QEMU's board: serial port, clock, PCI.
"""
TEST_ADDRESS, TEST_SIZE = 0x10_0000, 0x1000
"""The test device (SiFive test finisher): it powers the machine off, or resets it."""
CLINT_ADDRESS, CLINT_SIZE = 0x200_0000, 0x1_0000
"""The core-local interruptor: mtime, mtimecmp, software interrupts."""
PLIC_ADDRESS, PLIC_SIZE = 0x0C00_0000, 0x60_0000
"""The interrupt controller."""
PLIC_SOURCES = 95
"""Interrupt sources of it (riscv,ndev)."""
BOARD_DEVICES = (
    ("the test device", TEST_ADDRESS, TEST_SIZE),
    ("the CLINT", CLINT_ADDRESS, CLINT_SIZE),
    ("the PLIC", PLIC_ADDRESS, PLIC_SIZE),
)
"""What the board itself has, with address and size."""


def _place(slot: int) -> Place:
    """Return where a slot is."""
    further = slot - QEMU_SLOTS
    irq = FIRST_IRQ + slot if further < 0 else FIRST_FURTHER_IRQ + further
    return Place(MMIO_ADDRESS + slot * MMIO_SIZE, MMIO_SIZE, irq)


VIRTIO = Platform(
    compatible=COMPATIBLE,
    node="virtio_mmio",
    places=tuple(_place(slot) for slot in range(SLOTS)),
)
"""The slots, for every kind that is no platform device."""


def platform_of(kind: str) -> Platform:
    """Return how devices of a kind are found. Errors: BadMachine for a kind that is not there."""
    return find_kind(kind).platform or VIRTIO
