"""The slots of a board, and its state at the first instruction of a guest."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from virtmesh.kinds.record import Place
from virtmesh.machine.board import PLIC_SOURCES, QEMU_SLOTS, VIRTIO
from virtmesh_common.errors import BadMachine
from virtmesh_common.uart.spec import COMPATIBLE as NS16550A
from virtmesh_common.virtio.mmio import COMPATIBLE as VIRTIO_MMIO

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from virtmesh_native import Board

    from virtmesh.kernel.tree import DeviceNode

LCR, LCR_8N1 = 3, 3
"""Register of an NS16550A for the format of characters, and its value for 8 bits, no parity."""


def add_slots(
    board: Board, devices: Sequence[DeviceNode], quirks: Mapping[str, str]
) -> dict[int, int]:
    """Add the slots of all devices, and the empty ones of QEMU's board; return them by address.

    Kernels look for devices in every slot of that board, and an access to a hole is a fault. Slots
    that it has not are known from the device tree alone, which names no empty ones.
    """
    slots = {node.address: add_slot(board, node, quirks.get(node.name)) for node in devices}
    taken = [Place(node.address, node.size, node.irq) for node in devices]
    for place in empty_places(taken):
        slots[place.address] = board.add_slot(place.address, place.size, place.irq)
    return slots


def empty_places(taken: Sequence[Place]) -> Iterator[Place]:
    """Yield the slots of QEMU's board where nothing is, with interrupts that no device has."""
    used = {one.irq for one in taken}
    unused = (irq for irq in range(PLIC_SOURCES, 0, -1) if irq not in used)
    for place in VIRTIO.places[:QEMU_SLOTS]:
        if not any(place.overlaps(one) for one in taken):
            yield replace(place, irq=next(unused)) if place.irq in used else place


def add_slot(board: Board, node: DeviceNode, quirks: str | None) -> int:
    """Add the slot of a device. Errors: BadMachine for a window that is not free."""
    kind, shift = "other", 0
    if VIRTIO_MMIO in node.compatible:
        kind = "virtio"
    elif NS16550A in node.compatible:
        kind, shift = "uart", node.properties.get("reg-shift", 0)
    try:
        return board.add_slot(
            node.address, node.size, node.irq, kind=kind, register_shift=shift, quirks=quirks
        )
    except ValueError as error:
        raise BadMachine(f"{node.name}: {error}") from error


def set_first(
    board: Board, registers: Mapping[str, int], serials: Sequence[tuple[int, int]]
) -> None:
    """Set a CPU to its first instruction, and serial ports (slot, reg-shift) to 8N1."""
    board.reset(registers["pc"], registers["x10"], registers["x11"])
    board.set_register("x12", registers["x12"])
    for slot, shift in serials:
        board.access(slot, LCR << shift, 1, LCR_8N1)
