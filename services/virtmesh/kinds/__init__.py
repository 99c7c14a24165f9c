"""Kinds of devices: the record of one, how they are found, and the option types that they share."""

from virtmesh.kinds.finding import (
    all_kinds,
    broken_kinds,
    find_kind,
    kind_names,
    kind_of,
    own_kind_names,
)
from virtmesh.kinds.record import DeviceKind

__all__ = [
    "DeviceKind",
    "all_kinds",
    "broken_kinds",
    "find_kind",
    "kind_names",
    "kind_of",
    "own_kind_names",
]
