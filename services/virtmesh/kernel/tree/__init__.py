"""Device trees: made of a machine, and read as a kernel reads those of any board."""

from virtmesh.kernel.tree.found import Binding, DeviceNode, Fate, FoundMachine, ListedNode
from virtmesh.kernel.tree.make import make_blob
from virtmesh.kernel.tree.parse import parse_blob

__all__ = [
    "Binding",
    "DeviceNode",
    "Fate",
    "FoundMachine",
    "ListedNode",
    "make_blob",
    "parse_blob",
]
