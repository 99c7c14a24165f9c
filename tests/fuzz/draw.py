"""Numbers and choices out of the bytes of an input: a small change of it makes a small change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")
EDGES = (0, 1, 2, 3, 4, 7, 8, 16, 255, 256, 4095, 4096, 32768, 65535, 1 << 31, (1 << 32) - 1)


class Draw:
    """Reads an input from its beginning. At its end everything is 0, or the first choice."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def is_empty(self) -> bool:
        """True when nothing is left."""
        return self._at >= len(self._data)

    def byte(self) -> int:
        """Return a byte."""
        return self.number(1)

    def number(self, size: int) -> int:
        """Return a number of so many bytes."""
        return int.from_bytes(self.take(size), "little")

    def take(self, size: int) -> bytes:
        """Return at most so many bytes."""
        taken = self._data[self._at : self._at + size]
        self._at += size
        return taken

    def rest(self) -> bytes:
        """Return all that is left."""
        return self.take(max(0, len(self._data) - self._at))

    def piece(self, longest: int = 64) -> bytes:
        """Return some bytes, as many as the first one says."""
        return self.take(self.byte() % (longest + 1))

    def chance(self, one_in: int) -> bool:
        """Say yes once in so many times."""
        return self.byte() % one_in == one_in - 1

    def choose(self, options: Sequence[T]) -> T:
        """Return one of some options, at most 65536."""
        return options[self.number(1 if len(options) <= 256 else 2) % len(options)]

    def edge(self, size: int) -> int:
        """Return a number of so many bytes, often one at which mistakes are made."""
        number = self.choose(EDGES) if self.chance(2) else self.number(size)
        return number & ((1 << 8 * size) - 1)

    def text(self, longest: int = 64) -> str:
        """Return a text of any characters."""
        return self.piece(longest).decode(errors="replace")
