"""Where registers are: found by the place of an access, and checked that no two are in one place.

Both look at the ends of registers, and not at their bytes: what they cost depends on how many
registers there are, and not on how wide one is.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from virtmesh_common.registers import Register


class RegisterPlaces:
    """Finds registers by the place of an access. Those of one bank do not overlap."""

    def __init__(self, registers: Iterable[Register]) -> None:
        rows: defaultdict[tuple[str, str], list[Register]] = defaultdict(list)
        for register in sorted(registers, key=_offset):
            for way in register.directions:
                rows[way, register.bank].append(register)
        self._rows = [(way, [one.offset for one in row], row) for (way, _), row in rows.items()]
        """Registers by offset, and their offsets, for each direction and bank."""

    def find(self, offset: int, *, write: bool) -> list[Register]:
        """Return the registers that an access at an offset can mean, one of a bank at most."""
        found = []
        for way, offsets, registers in self._rows:
            index = bisect_right(offsets, offset) - 1
            if way == ("W" if write else "R") and index >= 0:
                register = registers[index]
                if offset < register.offset + register.size:
                    found.append(register)
        return found


def check_places(registers: Iterable[Register]) -> None:
    """Refuse two registers of one bank that one access would mean. Errors: ValueError."""
    last: dict[str, dict[str, Register]] = {"R": {}, "W": {}}
    """By direction and bank: the register with the highest offset so far."""
    for register in sorted(registers, key=_offset):
        for way in register.directions:
            before = last[way]
            for bank, other in before.items():
                same = bank == register.bank or not bank or not register.bank
                if same and register.offset < other.offset + other.size:
                    raise ValueError(f"{register.name} overlaps {other.name}")
            before[register.bank] = register


def _offset(register: Register) -> int:
    """Return what registers are sorted by."""
    return register.offset
