"""Registers as data: where one is, how it may be accessed, and what its bits mean.

A device describes its window as a tuple of `Register`. The dispatcher of the services reads it
(virtmesh.mmio.register_file), and so do traces, documents and drivers.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

WIDTHS = (1, 2, 4, 8)
"""Widths an access can have at all, in bytes."""


class Access(Enum):
    """What a driver may do with a register."""

    R = "R"
    W = "W"
    RW = "RW"
    RESERVED = "reserved"
    """Named by the specification, not implemented: touching it is counted and refused."""


@dataclass(frozen=True)
class Field:
    """Some neighbouring bits of a register: their name, the lowest bit, how many there are.

    `values` names the values that the specification names. A reserved field has no meaning: a
    driver writes 0 to it and ignores what it reads.
    """

    name: str
    low: int
    width: int = 1
    values: tuple[tuple[int, str], ...] = ()
    reserved: bool = False

    @property
    def mask(self) -> int:
        """The bits of the field, in place."""
        return ((1 << self.width) - 1) << self.low


@dataclass(frozen=True)
class Register:
    """One register: where it is, how it may be accessed, what it holds after a reset.

    `offset` and `size` are in bytes. `widths` are the widths an access may have: a register wider
    than those is read in parts. Values are little-endian.
    """

    name: str
    offset: int
    access: Access
    clause: str
    doc: str
    size: int = 4
    widths: tuple[int, ...] = (4,)
    reset: int = 0
    fields: tuple[Field, ...] = ()
    """Its fields, ascending by bit; none for a register that is one number."""

    def __post_init__(self) -> None:
        if "W" in self.access.value and self.widths != (self.size,):
            # A write in parts would need a rule for the value in between; no register has one.
            raise ValueError(f"{self.name} is writable, so its only width must be its size")
        if self.offset % max(self.widths) or any(self.size % width for width in self.widths):
            raise ValueError(f"{self.name} at {self.offset:#x} can't be accessed by {self.widths}")
        end = 0
        for one in self.fields:
            if one.low < end or one.width < 1:
                raise ValueError(f"{self.name}: field {one.name} overlaps the one before it")
            end = one.low + one.width
        if end > 8 * self.size:
            raise ValueError(f"{self.name}: its fields are wider than its {8 * self.size} bits")

    @property
    def reserved_bits(self) -> int:
        """The bits that fields mark as reserved."""
        return sum(one.mask for one in self.fields if one.reserved)
