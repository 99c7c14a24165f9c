"""Text of the monitor: tables, and bytes as people read them."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING

from virtmesh_common.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROW_BYTES = 16
"""Bytes of a row of a hex dump."""


def table(*rows: Sequence[object]) -> str:
    """Return rows with their columns aligned, the first being the heading."""
    texts = [[printable(str(cell)) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip_longest(*texts, fillvalue="")]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip()
        for row in texts
    )
    return "\n".join(lines)


class HexDump:
    """A dump in pieces, in the form of `hexdump -C`: rows like the one before are one `*`."""

    def __init__(self, address: int) -> None:
        self._address = address
        self._before = b""
        self._starred = False

    def rows(self, data: bytes) -> Iterator[str]:
        """Yield the rows of the next piece: whole rows, but for the last piece."""
        for start in range(0, len(data), ROW_BYTES):
            row = data[start : start + ROW_BYTES]
            if row != self._before:
                self._before, self._starred = row, False
                left, right = row[:8].hex(" "), row[8:].hex(" ")
                shown = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)
                yield f"{self._address:08x}  {left:23}  {right:23}  |{shown}|"
            elif not self._starred:
                self._starred = True
                yield "*"
            self._address += len(row)

    def end(self) -> str:
        """Return the last row: the address behind the dump."""
        return f"{self._address:08x}"
