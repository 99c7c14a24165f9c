"""The nodes of a tree with their parents, found by path and by phandle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from virtmesh.kernel.tree.found import NotUnderstood

if TYPE_CHECKING:
    from virtmesh.kernel.tree.fdt import Node

WORK_MAX = 4_000_000
"""Most cells of ranges and interrupt-maps that are looked at in one tree. Each node is translated
by every bus above it, so that a made-up tree could ask for hours of work."""
CELLS_MAX = 16
"""Most cells of an address, a size or an interrupt that are taken seriously; PCI has 3."""


@dataclass(frozen=True, eq=False)
class Spot:
    """A node where it stands."""

    node: Node
    parent: Spot | None

    @property
    def path(self) -> str:
        """The full path."""
        names: list[str] = []
        spot: Spot | None = self
        while spot is not None and spot.parent is not None:
            names.append(spot.node.name)
            spot = spot.parent
        return "/" + "/".join(reversed(names))

    def count(self, name: str, default: int) -> int:
        """Return a number of cells (2.3.5). Errors: NotUnderstood."""
        found = self.node.cells(name) or (default,)
        if len(found) != 1 or found[0] > CELLS_MAX:
            raise NotUnderstood(f"{name} of {self.path} must be one number up to {CELLS_MAX}")
        return found[0]


class Index:
    """A whole tree."""

    def __init__(self, root: Node) -> None:
        self.root = Spot(root, None)
        self.spots: list[Spot] = []
        """Every node, parents first, in the order of the tree."""
        self._phandles: dict[int, Spot] = {}
        self._work = 0
        waiting = [self.root]
        while waiting:
            spot = waiting.pop()
            self.spots.append(spot)
            for name in ("phandle", "linux,phandle"):
                value = spot.node.properties.get(name, b"")
                if len(value) == 4:
                    self._phandles.setdefault(int.from_bytes(value, "big"), spot)
            waiting += [Spot(child, spot) for child in reversed(spot.node.children)]

    def at(self, path: str) -> Spot | None:
        """Return the node of a full path."""
        spot = self.root
        for name in filter(None, path.split("/")):
            below = (one for one in self.spots if one.parent is spot and one.node.name == name)
            found = next(below, None)
            if found is None:
                return None
            spot = found
        return spot

    def table(self, spot: Spot, name: str) -> tuple[int, ...]:
        """Return the cells of a table: ranges, or an interrupt-map. Errors: NotUnderstood."""
        self._work += len(spot.node.properties.get(name, b"")) // 4 + 1
        if self._work > WORK_MAX:
            raise NotUnderstood(f"the tree has too many {name} to translate")
        return spot.node.cells(name)

    def by_phandle(self, phandle: int, what: str) -> Spot:
        """Return the node that a phandle means (2.3.3). Errors: NotUnderstood."""
        spot = self._phandles.get(phandle)
        if spot is None:
            raise NotUnderstood(f"{what} is <{phandle:#x}>, and no node has that phandle")
        return spot


def number(parts: tuple[int, ...]) -> int:
    """Join cells to one number."""
    joined = 0
    for part in parts:
        joined = joined << 32 | part
    return joined
