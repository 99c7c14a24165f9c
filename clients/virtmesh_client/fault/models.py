"""A fault that was ordered of a device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from virtmesh_common.fault.spec import FaultSpec


@dataclass(frozen=True)
class Fault:
    """A fault, and how it stands."""

    device: str
    number: int
    """From 1 on, for as long as the service of the device runs."""
    spec: FaultSpec
    """What was ordered, with its seed: the same one gives the same faults again."""
    seen: int
    """Events that it was about, such as requests of its types."""
    hits: int
    """Events that it took."""
    held: int = 0
    """Events that it holds back until it is taken back."""
    last: str = ""
    """What it did last, where that says more than its kind: which bytes, or how long."""
