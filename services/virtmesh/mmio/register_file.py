"""The one dispatcher that reads a table of registers (virtmesh_common.registers).

A `RegisterFile` checks every access against the table
(width, alignment, existence, direction, value) before any code of the device runs, and counts.
Reserved bits of a write reach that code, which ignores them.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from virtmesh.mmio.reserved_bits import ReservedBits
from virtmesh.report.event import ReservedWrite
from virtmesh_common.errors import (
    BadValue,
    BadWidth,
    Misaligned,
    NotReadable,
    NotWritable,
    RegisterError,
    UnknownRegister,
)
from virtmesh_common.registers import WIDTHS, Access

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from virtmesh.report.observer import Observer
    from virtmesh_common.registers import Register


class RegisterFile:
    """The registers of one device, with what reads and writes them.

    A readable register without a reader holds its reset value. A read-only and a write-only
    register may share an offset: the direction selects. `reserved_bits` is told of writes that set
    them, and `observer` of these and of refused accesses. Not for use by two threads.
    """

    def __init__(
        self,
        registers: Iterable[Register],
        *,
        readers: Mapping[Register, Callable[[], int]],
        writers: Mapping[Register, Callable[[int], None]],
        reserved_bits: ReservedBits | None = None,
        observer: Observer | None = None,
    ) -> None:
        self.reserved_bits = reserved_bits or ReservedBits()
        self._observer = observer
        self._readers = readers
        self._writers = writers
        self._read_at: dict[int, Register] = {}
        self._written_at: dict[int, Register] = {}
        for register in registers:
            if register.access is not Access.W:
                _place(register, self._read_at)
            if register.access is not Access.R:
                _place(register, self._written_at)
            if "W" in register.access.value and register not in writers:
                raise ValueError(f"{register.name} is writable and has no writer")
        # An access in the other direction is refused by what is there.
        self._read_at = self._written_at | self._read_at
        self._written_at = self._read_at | self._written_at
        self.reads: Counter[str] = Counter()
        """Reads executed, by name of the register."""
        self.writes: Counter[str] = Counter()
        """Writes executed, by name of the register."""
        self.refused: Counter[str] = Counter()
        """Accesses refused, by reason."""
        self.reserved: Counter[str] = Counter()
        """Touches of reserved registers, by name."""

    def read(self, offset: int, width: int) -> int:
        """Read a register, or the part of it that is at the offset.

        Errors: BadWidth, UnknownRegister, Misaligned, NotReadable, and what the reader raises.
        """
        try:
            register = self._find(self._read_at, offset, width)
            if "R" not in register.access.value:
                raise NotReadable(f"{register.name} ({offset:#05x}) is write-only")
            reader = self._readers.get(register)
            value = register.reset if reader is None else reader()
        except RegisterError as error:
            self.refused[error.reason] += 1
            if self._observer is not None:
                found = self._read_at.get(offset)
                self._observer.refused(found, offset, width, False, 0, error)  # noqa: FBT003
            raise
        self.reads[register.name] += 1
        return value >> 8 * (offset - register.offset) & ((1 << 8 * width) - 1)

    def write(self, offset: int, width: int, value: int) -> None:
        """Write a register.

        Errors: BadWidth, UnknownRegister, Misaligned, NotWritable, BadValue, and what the writer
        raises; a refused write changes nothing.
        """
        try:
            register = self._find(self._written_at, offset, width)
            if "W" not in register.access.value:
                raise NotWritable(f"{register.name} ({offset:#05x}) is read-only")
            if not 0 <= value < 1 << 8 * width:
                raise BadValue(f"{value:#x} does not fit the {8 * width} bits of {register.name}")
            self._writers[register](value)
        except RegisterError as error:
            self.refused[error.reason] += 1
            if self._observer is not None:
                found = self._written_at.get(offset)
                self._observer.refused(found, offset, width, True, value, error)  # noqa: FBT003
            raise
        self.writes[register.name] += 1
        if value & register.reserved_bits:
            self.reserved_bits.note(register, value)
            if self._observer is not None:
                self._observer.tell(ReservedWrite(register, offset, width, value))

    def _find(self, table: Mapping[int, Register], offset: int, width: int) -> Register:
        """Return the register that an access means."""
        if width not in WIDTHS:
            raise BadWidth(f"an access can't be {width} bytes wide: use 1, 2, 4 or 8")
        register = table.get(offset)
        if register is None:
            raise UnknownRegister(f"no register is at offset {offset:#05x}")
        if register.access is Access.RESERVED:
            self.reserved[register.name] += 1
            raise UnknownRegister(
                f"{register.name} ({offset:#05x}) is reserved ({register.clause}): {register.doc}"
            )
        if width not in register.widths:
            allowed = " or ".join(str(8 * allowed) for allowed in register.widths)
            raise BadWidth(
                f"{register.name} ({offset:#05x}) takes accesses of {allowed} bits, not {8 * width}"
            )
        if offset % width:
            raise Misaligned(f"offset {offset:#05x} is not a multiple of the width, {width} bytes")
        return register


def _place(register: Register, table: dict[int, Register]) -> None:
    """Enter a register at each of its offsets. Errors: ValueError where another one is."""
    for offset in range(register.offset, register.offset + register.size):
        if offset in table:
            raise ValueError(f"{register.name} overlaps {table[offset].name}")
        table[offset] = register
