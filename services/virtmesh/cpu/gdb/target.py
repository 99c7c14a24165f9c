"""The registers of the CPU as GDB numbers them, and their description in XML.

https://sourceware.org/gdb/current/onlinedocs/gdb.html/RISC_002dV-Features.html
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FILE = 32
"""Registers of each file."""
PC = 32
F0 = 33
CSR0 = 66
"""Numbers of pc, f0, and of the first control and status register."""
FPU = ("fflags", "frm", "fcsr")
"""Control and status registers that GDB wants beside the floating-point registers, of 32 bits."""
ABI = (
    *("zero", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "fp", "s1"),
    *(f"a{number}" for number in range(8)),
    *(f"s{number}" for number in range(2, 12)),
    *(f"t{number}" for number in range(3, 7)),
)
"""What GDB calls x0 to x31."""
FLOATS = (
    *(f"ft{number}" for number in range(8)),
    *("fs0", "fs1"),
    *(f"fa{number}" for number in range(8)),
    *(f"fs{number}" for number in range(2, 12)),
    *(f"ft{number}" for number in range(8, 12)),
)
"""What GDB calls f0 to f31."""
CODE_POINTERS = ("ra", "pc")
DATA_POINTERS = ("sp", "gp", "tp", "fp")
GENERIC = {
    "pc": "pc",
    "sp": "sp",
    "fp": "fp",
    "ra": "ra",
    **{f"a{number}": f"arg{number + 1}" for number in range(8)},
}
"""What LLDB calls registers of a special meaning: GDB knows them by name."""


@dataclass(frozen=True)
class GdbRegister:
    """One register: GDB's number and name, the board's name, its bytes on the wire."""

    number: int
    name: str
    own: str
    size: int
    feature: str


def number_registers(known: Iterable[str]) -> tuple[GdbRegister, ...]:
    """Return the registers, ascending by number. `known` are the names that the board has."""
    found = [GdbRegister(n, ABI[n], f"x{n}", 8, "cpu") for n in range(FILE)]
    found.append(GdbRegister(PC, "pc", "pc", 8, "cpu"))
    found += [GdbRegister(F0 + n, FLOATS[n], f"f{n}", 8, "fpu") for n in range(FILE)]
    taken = {one.own for one in found} | {"privilege"}
    others = sorted(set(known) - taken - set(FPU))
    names = [(name, "fpu") for name in FPU] + [(name, "csr") for name in others]
    for number, (name, feature) in enumerate(names, CSR0):
        found.append(GdbRegister(number, name, name, 4 if feature == "fpu" else 8, feature))
    return tuple(found)


def describe(registers: Iterable[GdbRegister]) -> bytes:
    """Return the target description."""
    lines = [
        '<?xml version="1.0"?>',
        '<!DOCTYPE target SYSTEM "gdb-target.dtd">',
        '<target version="1.0">',
        "<architecture>riscv:rv64</architecture>",
        # For Linux, GDB would step by breakpoints: past an ecall's handler, and it loses an mret.
        "<osabi>none</osabi>",
        *_features(list(registers)),
        "</target>",
    ]
    return "\n".join(lines).encode()


def _features(registers: list[GdbRegister]) -> Iterator[str]:
    """Yield the lines of the features."""
    for feature in ("cpu", "fpu", "csr"):
        yield f'<feature name="org.gnu.gdb.riscv.{feature}">'
        for one in registers:
            if one.feature == feature:
                yield (
                    f'<reg name="{one.name}" bitsize="{8 * one.size}" regnum="{one.number}"'
                    f' type="{_type(one)}"{_lldb(one)}/>'
                )
        yield "</feature>"


def _lldb(register: GdbRegister) -> str:
    """Return the attributes that LLDB needs and GDB ignores: the meaning, and DWARF's number."""
    text = f' generic="{GENERIC[register.name]}"' if register.name in GENERIC else ""
    if register.number < FILE:
        return f'{text} dwarf_regnum="{register.number}" ehframe_regnum="{register.number}"'
    if F0 <= register.number < F0 + FILE:
        number = register.number - F0 + FILE
        return f'{text} dwarf_regnum="{number}" ehframe_regnum="{number}"'
    return text


def _type(register: GdbRegister) -> str:
    """Return the type of a register, as GDB spells it."""
    if register.name in CODE_POINTERS:
        return "code_ptr"
    if register.name in DATA_POINTERS:
        return "data_ptr"
    return "ieee_double" if register.own[0] == "f" and register.own[1:].isdecimal() else "int"
