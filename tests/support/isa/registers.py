"""The registers of one random program, and its memory.

One x register, `base`, different from program to program, points to the frame of the program and is
never written. The frame: a pool of constants below `base`, then the registers as they are loaded at
the start and stored at the end, then scratch memory for loads and stores.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

POOL = 64
"""Constants, 8 bytes each, below `base`."""
FCSR_AT = 512
"""Offset of fcsr, behind x0 to x31 and f0 to f31."""
SCRATCH_AT = 528
SCRATCH = 1024
FRAME = SCRATCH_AT + SCRATCH
"""Bytes from `base` to the end of the frame."""
COMPRESSED = range(8, 16)
"""Registers that the short fields of compressed instructions name."""


class Registers:
    """Choose registers and addresses at random."""

    def __init__(self, rng: Random, base: int) -> None:
        self.rng = rng
        self.base = base

    def target(self, among: Sequence[int] = range(32)) -> int:
        """Return an x register that may be written."""
        return self.rng.choice([number for number in among if number != self.base])

    def x(self) -> str:
        """Return any x register, to read."""
        return f"x{self.rng.randrange(32)}"

    def xd(self) -> str:
        """Return an x register to write; x0 is one."""
        return f"x{self.target()}"

    def short(self) -> str:
        """Return one of x8 to x15, to read."""
        return f"x{self.rng.choice(COMPRESSED)}"

    def short_xd(self) -> str:
        """Return one of x8 to x15, to write."""
        return f"x{self.target(COMPRESSED)}"

    def f(self) -> str:
        """Return any f register."""
        return f"f{self.rng.randrange(32)}"

    def short_f(self) -> str:
        """Return one of f8 to f15."""
        return f"f{self.rng.choice(COMPRESSED)}"

    def constant(self) -> str:
        """Return the address of a constant."""
        return f"{-8 * self.rng.randint(1, POOL)}(x{self.base})"

    def address(
        self, width: int, offset: int, register: int, *, aligned: bool = False
    ) -> list[str]:
        """Return code that makes `offset` from x`register` lie in scratch memory."""
        at = self.rng.randrange(width, SCRATCH - 2 * width)  # a neighbour on either side
        if aligned:
            at -= at % width
        return [
            f"li x{register}, {SCRATCH_AT + at - offset}",
            f"add x{register}, x{register}, x{self.base}",
        ]
