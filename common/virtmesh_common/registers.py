"""Registers as data: where one is, how it may be accessed, and what its bits mean.

A device describes its window as a tuple of `Register`. The dispatcher of the services reads it
(virtmesh.mmio.register_file), and so do traces, documents and drivers.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from enum import IntEnum, IntFlag

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
    doc: str = ""

    @property
    def mask(self) -> int:
        """The bits of the field, in place."""
        return ((1 << self.width) - 1) << self.low

    def of(self, value: int) -> int:
        """Return the field's part of a value of the register."""
        return (value & self.mask) >> self.low

    def value_name(self, value: int) -> str:
        """Name a value of the field; empty for one that has no name."""
        return next((name for number, name in self.values if number == value), "")


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
    bank: str = ""
    """Registers of different banks may share an offset: the device shows one bank at a time. Empty
    for a register that is always there."""
    transient: bool = False
    """What it holds comes and goes while the device is used, such as events that are pending."""

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

    def __hash__(self) -> int:
        # Equal registers have these in common; the fields are too much to hash at each access.
        return hash((self.name, self.offset))

    @property
    def directions(self) -> str:
        """Accesses that mean this register, if only to be refused: "R", "W" or "RW"."""
        return "RW" if self.access is Access.RESERVED else self.access.value

    @cached_property
    def reserved_bits(self) -> int:
        """The bits that fields mark as reserved."""
        return sum(one.mask for one in self.fields if one.reserved)


RESERVED_NAME = "reserved"
"""Name of the fields that have no other name."""


def flag_fields(
    flags: type[IntFlag], bits: int, docs: Mapping[IntFlag, str] | None = None
) -> tuple[Field, ...]:
    """Return the fields of a register of so many bits: one for each flag, the rest reserved."""
    named = docs or {}
    return fill_reserved(
        (
            Field(name, int(flag).bit_length() - 1, doc=named.get(flag, ""))
            for name, flag in flags.__members__.items()
            if name == flag.name
        ),
        bits,
    )


def named_values(values: type[IntEnum], prefix: str = "") -> tuple[tuple[int, str], ...]:
    """Return the values of a field by the names that an enumeration has for them."""
    return tuple((one.value, one.name.removeprefix(prefix)) for one in values)


def fill_reserved(fields: Iterable[Field], bits: int) -> tuple[Field, ...]:
    """Return fields, and the bits between and above them as reserved fields."""
    filled: list[Field] = []
    end = 0
    for one in (*sorted(fields, key=lambda field: field.low), Field("", bits)):
        if one.low > end:
            filled.append(Field(RESERVED_NAME, end, one.low - end, reserved=True))
        if one.name:
            filled.append(one)
        end = one.low + one.width
    return tuple(filled)
