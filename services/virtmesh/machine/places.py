"""Places of devices that a machine file gives on the board: address and interrupt."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from virtmesh.kinds.record import Place
from virtmesh.machine.board import BOARD_DEVICES, PLIC_SOURCES
from virtmesh_common.memory_map import RAM_ADDRESS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from virtmesh.machine.model import DeviceEntry
    from virtmesh.machine.table import Table

ADDRESS_END = 1 << 56
"""Physical addresses of Sv39 have 56 bits."""


def own_place(table: Table, place: Place) -> Place | None:
    """Return where a device is instead of its place on the board.

    `place` is that one. None: the table says nothing else. Errors: BadMachine.
    """
    address = table.value("address", (int,), place.address)
    if not 0 <= address < ADDRESS_END or address % place.size:
        raise table.bad("address", f"must be a multiple of {place.size:#x}, below 2^56")
    interrupt = table.value("interrupt", (int,), place.irq)
    if not 1 <= interrupt <= PLIC_SOURCES:
        raise table.bad("interrupt", f"must be from 1 to {PLIC_SOURCES}")
    own = replace(place, address=address, irq=interrupt)
    return None if own == place else own


def check_places(tables: Sequence[Table], devices: Sequence[DeviceEntry], memory: int) -> None:
    """Refuse windows that overlap, and interrupts that two devices have. Errors: BadMachine."""
    seen: list[tuple[str, Place]] = [
        *((what, Place(address, size, 0)) for what, address, size in BOARD_DEVICES),
        ("RAM", Place(RAM_ADDRESS, memory, 0)),
    ]
    for table, device in zip(tables, devices, strict=True):
        place = device.place
        for what, other in seen:
            if place.overlaps(other):
                raise table.bad("address", f"{place.address:#x} is taken by {what}: choose another")
            if place.irq == other.irq:
                raise table.bad("interrupt", f"{place.irq} is that of {what} too: choose another")
        seen.append((device.name, place))
