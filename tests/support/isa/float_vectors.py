"""Every floating-point operation, in each rounding mode, on the same operands.

A guest program runs all `operations()` on each triple of operands, and keeps the result and the
flags of each: 16 bytes in the order of the operations.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from random import Random

from tests.support.isa import values

MODES = ("rne", "rtz", "rdn", "rup", "rmm")
INTEGERS = ("w", "wu", "l", "lu")
RECORD = 16
"""Bytes of a result with its flags."""

Triple = tuple[int, int, int]


def operations() -> list[str]:
    """Return the operations: instruction text from `a0` or `fa0`..`fa2` to `a3` or `fa3`."""
    return [text for form in ("s", "d") for text in (*rounded(form), *unrounded(form))]


def rounded(form: str) -> Iterator[str]:
    """Yield the operations that round, in each mode."""
    other = "d" if form == "s" else "s"
    shapes = [f"f{name}.{form} fa3, fa0, fa1" for name in ("add", "sub", "mul", "div")]
    shapes += [f"fsqrt.{form} fa3, fa0"]
    shapes += [f"f{name}.{form} fa3, fa0, fa1, fa2" for name in ("madd", "msub", "nmadd", "nmsub")]
    shapes += [f"fcvt.{to}.{form} a3, fa0" for to in INTEGERS]
    # To a double from what it holds exactly, the assembler takes no mode.
    exact = {"fcvt.d.w fa3, a0", "fcvt.d.wu fa3, a0", "fcvt.d.s fa3, fa0"}
    shapes += [f"fcvt.{form}.{source} fa3, a0" for source in INTEGERS]
    shapes += [f"fcvt.{form}.{other} fa3, fa0"]
    for shape in shapes:
        if shape in exact:
            yield shape
        else:
            yield from (f"{shape}, {mode}" for mode in MODES)


def unrounded(form: str) -> Iterator[str]:
    """Yield the others."""
    for name in ("min", "max", "sgnj", "sgnjn", "sgnjx"):
        yield f"f{name}.{form} fa3, fa0, fa1"
    for name in ("eq", "lt", "le"):
        yield f"f{name}.{form} a3, fa0, fa1"
    yield f"fclass.{form} a3, fa0"
    whole = "w" if form == "s" else "d"
    yield f"fmv.x.{whole} a3, fa0"
    yield f"fmv.{whole}.x fa3, a0"


def triples(rng: Random, count: int) -> list[Triple]:
    """Return operands: triples of one format, some of them special, equal or close."""
    found = []
    for _ in range(count):
        kind = rng.choice((values.double, values.boxed_single))
        a, b, c = kind(rng), kind(rng), kind(rng)
        if rng.random() < 0.1:
            b = a ^ rng.choice((0, 1, 1 << 31, 1 << 63))
        if rng.random() < 0.1:
            a, b = (rng.choice(values.SPECIAL) for _ in range(2))
        if rng.random() < 0.1:
            a = values.integer(rng)
        found.append((a, b, c))
    return found


def text() -> str:
    """Return the program."""
    lines = ["la s0, operands", "la s1, output", "la s2, operands_end", "next:"]
    lines += ["ld a0, 0(s0)", *(f"fld fa{n}, {8 * n}(s0)" for n in range(3)), "addi s0, s0, 24"]
    for operation in operations():
        store = "sd" if operation.split()[1] == "a3," else "fsd"
        result = "a3" if store == "sd" else "fa3"
        lines += ["csrw fcsr, zero", operation, f"{store} {result}, 0(s1)"]
        lines += ["csrr a4, fcsr", "sd a4, 8(s1)", f"addi s1, s1, {RECORD}"]
    # Too far for a branch.
    lines += ["beq s0, s2, done", "j next"]
    return "\n".join(lines)


def data(operands: Iterable[Triple]) -> str:
    """Return the room for results, with the operands behind."""
    operands = list(operands)
    room = len(operands) * len(operations()) * RECORD
    rows = [".dword " + ", ".join(map(hex, triple)) for triple in operands]
    return "\n".join(
        [f".skip {room}", '.section .operands, "aw"', "operands:", *rows, "operands_end:", ".data"]
    )


def differences(operands: list[Triple], expected: bytes, actual: bytes) -> list[str]:
    """Return a line for each result that differs."""
    names = operations()
    found = []
    for index, start in enumerate(range(0, len(expected), RECORD)):
        right, ours = expected[start : start + RECORD], actual[start : start + RECORD]
        if right != ours:
            triple = operands[index // len(names)]
            found.append(
                f"{names[index % len(names)]}: operands {', '.join(f'{x:016x}' for x in triple)}:"
                f" QEMU {shown(right)}, hart {shown(ours)}"
            )
    return found


def shown(record: bytes) -> str:
    """Return a result and its flags, readable."""
    result, flags = (int.from_bytes(record[at : at + 8], "little") for at in (0, 8))
    return f"{result:016x} flags {flags:#04x}"
