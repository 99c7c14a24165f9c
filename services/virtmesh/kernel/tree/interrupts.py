"""Which interrupt a node has: its number at the interrupt controller that it leads to.

Devicetree Specification 0.4, 2.4: `interrupts` at the interrupt parent, which is inherited;
`interrupts-extended`, which names the parent itself; `interrupt-map` of what stands between.
The kernel has no interrupt controller of a board: a number is a name for the line of a service.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh.kernel.tree.found import NotUnderstood

if TYPE_CHECKING:
    from collections.abc import Iterator

    from virtmesh.kernel.tree.index import Index, Spot

    Cells = tuple[int, ...]

HOPS_MAX = 16
"""Most nodes with an interrupt-map on the way to a controller: a tree may go in circles."""
GIC_SHARED, GIC_PRIVATE = 0, 1
"""First cell of a specifier of Arm's GIC: a shared or a private peripheral interrupt."""
GIC_FIRST = {GIC_SHARED: 32, GIC_PRIVATE: 16}
"""Interrupt ID of number 0 of each."""


def interrupt_of(spot: Spot, index: Index) -> int:
    """Return the number of the first interrupt of a node. Errors: NotUnderstood."""
    controller, specifier = first_interrupt(spot, index)
    if controller is None:
        return specifier[0]
    address = spot.node.cells("reg")
    for _ in range(HOPS_MAX):
        if "interrupt-map" not in controller.node.properties:
            return number_at(controller, specifier)
        controller, address, specifier = through_map(controller, address, specifier, index)
    raise NotUnderstood("its interrupt-maps lead in a circle")


def first_interrupt(spot: Spot, index: Index) -> tuple[Spot | None, Cells]:
    """Return whose interrupt it is, and its cells there. Errors: NotUnderstood.

    None is for a tree that names no controller anywhere: its numbers are taken as they are.
    """
    node = spot.node
    if "interrupts-extended" in node.properties:
        phandle, *cells = node.cells("interrupts-extended") or (0,)
        controller: Spot | None = index.by_phandle(phandle, "interrupts-extended")
    else:
        cells = list(node.cells("interrupts"))
        if not cells:
            raise NotUnderstood("it has no interrupt")
        controller = parent_of(spot, index)
    count = 1 if controller is None else controller.count("#interrupt-cells", 1)
    if not count or len(cells) < count:
        raise NotUnderstood(f"its interrupt must have {count or 'some'} cells, it has {len(cells)}")
    return controller, tuple(cells[:count])


def parent_of(spot: Spot, index: Index) -> Spot | None:
    """Return the interrupt parent: the nearest that is named, or that is one by itself."""
    one: Spot | None = spot
    while one is not None:
        named = one.node.cells("interrupt-parent")
        if named:
            return index.by_phandle(named[0], f"interrupt-parent of {one.path}")
        one = one.parent
        if one and {"interrupt-controller", "interrupt-map"} & one.node.properties.keys():
            return one
    return None


def through_map(
    nexus: Spot, address: Cells, specifier: Cells, index: Index
) -> tuple[Spot, Cells, Cells]:
    """Follow the interrupt-map of a node (2.4.3). Errors: NotUnderstood.

    Returns the next parent, the address and the specifier there.
    """
    address_cells = nexus.count("#address-cells", 0)
    wanted = (*address[:address_cells], *specifier)
    mask = nexus.node.cells("interrupt-map-mask") or (0xFFFF_FFFF,) * len(wanted)
    if len(address) < address_cells or len(mask) < len(wanted):
        raise NotUnderstood(f"the interrupt-map of {nexus.path} wants another form of address")
    masked = tuple(cell & bits for cell, bits in zip(wanted, mask, strict=False))
    for key, parent, unit, cells in rows(nexus, len(wanted), index):
        if tuple(cell & bits for cell, bits in zip(key, mask, strict=False)) == masked:
            return parent, unit, cells
    raise NotUnderstood(f"the interrupt-map of {nexus.path} does not have its interrupt")


def rows(nexus: Spot, width: int, index: Index) -> Iterator[tuple[Cells, Spot, Cells, Cells]]:
    """Yield the rows of an interrupt-map: key, parent, unit address, specifier."""
    cells = index.table(nexus, "interrupt-map")
    position = 0
    while position + width < len(cells):
        key = cells[position : position + width]
        parent = index.by_phandle(cells[position + width], f"interrupt-map of {nexus.path}")
        position += width + 1
        unit = cells[position : position + parent.count("#address-cells", 0)]
        position += len(unit)
        specifier = cells[position : position + parent.count("#interrupt-cells", 1)]
        position += len(specifier)
        yield key, parent, unit, specifier


def number_at(controller: Spot, specifier: Cells) -> int:
    """Return the number of an interrupt at its controller. Errors: NotUnderstood.

    One cell is the number; of two, the second says how the line is triggered; Arm's GIC has the
    sort of interrupt before the number.
    """
    if len(specifier) in {1, 2}:
        return specifier[0]
    compatible = controller.node.strings("compatible")
    is_gic = any("gic" in one for one in compatible)
    if is_gic and len(specifier) > 2 and specifier[0] in GIC_FIRST:
        return GIC_FIRST[specifier[0]] + specifier[1]
    raise NotUnderstood(
        f"its interrupt has {len(specifier)} cells for {controller.path}, and what they mean is not"
        " known"
    )
