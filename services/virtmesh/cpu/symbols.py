"""What addresses of the guest are called."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

REACH = 1 << 20
"""An address that is farther behind a symbol than this is not named after it."""


class SymbolTable:
    """Names for addresses. `symbols` are ascending by address."""

    def __init__(self, symbols: Sequence[tuple[int, str]] = ()) -> None:
        self._addresses = [address for address, _ in symbols]
        self._names = [name for _, name in symbols]

    def name(self, address: int) -> str:
        """Return a name such as `main+0x10`; empty where nothing is known."""
        place = bisect_right(self._addresses, address) - 1
        if place < 0 or address - self._addresses[place] > REACH:
            return ""
        offset = address - self._addresses[place]
        return self._names[place] + (f"+{offset:#x}" if offset else "")

    def find(self, name: str) -> int | None:
        """Return the address of a name, the lowest of several; None if there is none."""
        try:
            return self._addresses[self._names.index(name)]
        except ValueError:
            return None
