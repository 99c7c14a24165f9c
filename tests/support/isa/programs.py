"""Random programs, many of them in one image, and the smallest part of one that still differs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from tests.support.isa import values
from tests.support.isa.families import Family
from tests.support.isa.registers import FCSR_AT, FRAME, POOL, SCRATCH, SCRATCH_AT, Registers
from tests.support.isa.toolchain import Image

RECORD = 8 * POOL + FRAME
"""Bytes of the frame of a program in the output, from its pool on."""

Snippet = tuple[str, ...]
Run = Callable[[Sequence["Program"]], tuple[bytes, bytes]]
"""Run programs on both machines: the output of QEMU, and that of the hart."""


@dataclass(frozen=True)
class Program:
    """A random program: what the registers are, and the code in parts that can be left out."""

    base: int
    pool: tuple[int, ...]
    x: tuple[int, ...]
    f: tuple[int, ...]
    fcsr: int
    snippets: tuple[Snippet, ...]

    def text(self, number: int) -> str:
        """Return the code, with loading and storing of the registers around it."""
        base, last = self.base, 31 if self.base != 31 else 30
        others = [index for index in range(1, 32) if index != base]
        body = [line for snippet in self.snippets for line in snippet]
        lines = [f"la x{base}, frame{number}", f"ld x{last}, {FCSR_AT}(x{base})"]
        lines += [f"csrw fcsr, x{last}"]
        lines += [f"fld f{index}, {256 + 8 * index}(x{base})" for index in range(32)]
        lines += [f"ld x{index}, {8 * index}(x{base})" for index in others]
        lines += body
        lines += [f"sd x{index}, {8 * index}(x{base})" for index in range(1, 32)]
        lines += [f"fsd f{index}, {256 + 8 * index}(x{base})" for index in range(32)]
        lines += [f"csrr x{last}, fcsr", f"sd x{last}, {FCSR_AT}(x{base})"]
        return "\n".join(lines)

    def data(self, number: int) -> str:
        """Return the frame."""
        rows = [self.pool, (), (0, *self.x[1:]), self.f, (self.fcsr, 0)]
        lines = [".dword " + ", ".join(map(hex, row)) if row else "" for row in rows]
        lines[1] = f"frame{number}:"
        # Scratch memory: the pool, again and again.
        lines += [lines[0]] * (SCRATCH // (8 * POOL))
        return "\n".join(lines)


def random_program(rng: Random, families: Sequence[Family], length: int) -> Program:
    """Return a program of `length` snippets."""
    regs = Registers(rng, rng.randint(1, 31))
    return Program(
        base=regs.base,
        pool=tuple(values.word(rng) for _ in range(POOL)),
        x=tuple(values.word(rng) for _ in range(32)),
        f=tuple(values.float_word(rng) for _ in range(32)),
        fcsr=rng.randrange(5) << 5,
        snippets=tuple(tuple(rng.choice(families)(regs)) for _ in range(length)),
    )


def random_programs(
    rng: Random, families: Sequence[Family], count: int, length: int
) -> list[Program]:
    """Return `count` programs of `length` snippets."""
    return [random_program(rng, families, length) for _ in range(count)]


def image(folder: Path, programs: Sequence[Program]) -> Image:
    """Assemble programs, one behind the other."""
    text = [program.text(number) for number, program in enumerate(programs)]
    data = [program.data(number) for number, program in enumerate(programs)]
    return Image(folder, "\n".join(text), "\n".join(data))


def differing(programs: Sequence[Program], expected: bytes, actual: bytes) -> Iterator[int]:
    """Yield the numbers of the programs whose frames differ."""
    for number in range(len(programs)):
        start = number * RECORD
        if expected[start : start + RECORD] != actual[start : start + RECORD]:
            yield number


def smallest(program: Program, run: Run) -> Program:
    """Return `program` without the snippets that the difference does not need.

    All candidates of a round are run together, as one image.
    """
    while True:
        shorter = [
            replace(program, snippets=program.snippets[:at] + program.snippets[at + 1 :])
            for at in range(len(program.snippets))
        ]
        found = next(differing(shorter, *run(shorter)), None) if shorter else None
        if found is None:
            return program
        program = shorter[found]


def report(program: Program, run: Run) -> str:
    """Return the code of a program, the registers it reads, and what differs at its end."""
    expected, actual = run([program])
    code = [line for snippet in program.snippets for line in snippet]
    lines = ["program:", *(f"    {line}" for line in code), f"base register: x{program.base}"]
    lines += [f"fcsr: {program.fcsr:#x}", "differences (QEMU, hart; and the value at the start):"]
    for at in range(0, RECORD, 8):
        right, ours = (int.from_bytes(part[at : at + 8], "little") for part in (expected, actual))
        if right != ours:
            name, start = named(program, at - 8 * POOL)
            lines.append(f"    {name}: {right:016x} {ours:016x} {start}")
    mentioned = set(" ".join(code).replace(",", " ").replace("(", " ").replace(")", " ").split())
    lines.append("operands at the start:")
    for kind, registers in (("x", program.x), ("f", program.f)):
        lines += [
            f"    {kind}{index}: {value:016x}"
            for index, value in enumerate(registers)
            if f"{kind}{index}" in mentioned
        ]
    lines += [
        f"    {-8 * (POOL - index)}(x{program.base}): {value:016x}"
        for index, value in enumerate(program.pool)
        if f"{-8 * (POOL - index)}" in mentioned
    ]
    return "\n".join(lines)


def named(program: Program, offset: int) -> tuple[str, str]:
    """Return what lies at an offset from the base, and the value that it had at the start."""
    index = offset // 8
    if offset < 0:
        return f"constant {offset}", ""
    if offset < 256:
        return f"x{index}", f"{program.x[index]:016x}"
    if offset < FCSR_AT:
        return f"f{index - 32}", f"{program.f[index - 32]:016x}"
    if offset < SCRATCH_AT:
        return "fcsr", f"{program.fcsr:#x}"
    return f"scratch {offset - SCRATCH_AT}", ""
