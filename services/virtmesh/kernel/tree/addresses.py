"""Where a node is for the CPU: its `reg`, translated by the `ranges` of every bus above it.

Devicetree Specification 0.4, 2.3.5 (#address-cells and #size-cells), 2.3.6 (reg), 2.3.8 (ranges).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh.kernel.tree.found import NotUnderstood
from virtmesh.kernel.tree.index import number

if TYPE_CHECKING:
    from virtmesh.kernel.tree.index import Index, Spot

ADDRESS_END = 1 << 64
"""First address that no CPU has."""


def window(spot: Spot, index: Index) -> tuple[int, int]:
    """Return address and size of the first register window of a node. Errors: NotUnderstood."""
    bus = spot.parent
    if bus is None or "reg" not in spot.node.properties:
        raise NotUnderstood("it has no reg, so it has no address")
    address_cells, size_cells = counts(bus)
    reg = spot.node.cells("reg")
    if not address_cells or len(reg) < address_cells + size_cells:
        raise NotUnderstood(
            f"reg is too short: {bus.path} wants {address_cells} + {size_cells} cells"
        )
    address = number(reg[:address_cells])
    size = number(reg[address_cells : address_cells + size_cells])
    if size == 0:
        raise NotUnderstood("reg has no size")
    while bus.parent is not None:
        address = translate(bus, address, size, index)
        bus = bus.parent
    if address + size > ADDRESS_END:
        raise NotUnderstood(f"its window at {address:#x} is beyond 64 bits")
    return address, size


def counts(bus: Spot) -> tuple[int, int]:
    """Return the cells of an address and of a size below a bus. Errors: NotUnderstood."""
    return bus.count("#address-cells", 2), bus.count("#size-cells", 1)


def translate(bus: Spot, address: int, size: int, index: Index) -> int:
    """Return an address of a bus as one of the bus above it. Errors: NotUnderstood."""
    if "ranges" not in bus.node.properties:
        raise NotUnderstood(f"{bus.path} has no ranges, so what is below it has no address here")
    ranges = index.table(bus, "ranges")
    if not ranges or bus.parent is None:
        return address
    here, size_cells = counts(bus)
    there, _ = counts(bus.parent)
    row = here + there + size_cells
    if not row or len(ranges) % row:
        raise NotUnderstood(f"ranges of {bus.path} are not made of rows of {row} cells")
    for begin in range(0, len(ranges), row):
        child = number(ranges[begin : begin + here])
        parent = number(ranges[begin + here : begin + here + there])
        length = number(ranges[begin + here + there : begin + row])
        if child <= address and address + size <= child + length:
            return parent + address - child
    raise NotUnderstood(f"ranges of {bus.path} do not have its address {address:#x}")
