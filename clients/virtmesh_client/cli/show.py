"""Results on standard output: tables for people, JSON for programs, bytes as a hex dump."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, is_dataclass
from typing import TYPE_CHECKING, Any

import click

from virtmesh_common.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

ROW = 16
"""Bytes of one row of a hex dump."""
GAP = "  "
"""Stands between two columns."""


def show_json(value: object) -> None:
    """Print a value as JSON; dataclasses become objects."""
    sys.stdout.write(json.dumps(value, default=plain, indent=2) + "\n")


def plain(value: object) -> Any:
    """Return what JSON can hold."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return str(value)


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table as wide as its content.

    What is wider than the terminal is for the terminal to wrap: folded into its column, an address
    could not be copied any more.
    """
    cells = [[printable(str(cell)) for cell in row] for row in rows]
    lines = align([list(columns), *cells])
    sys.stdout.write("".join([f"{bold(lines[0])}\n", *(f"{line}\n" for line in lines[1:])]))


def show_facts(facts: Iterable[tuple[str, object]]) -> None:
    """Print names and values; a value of several lines stays in its column."""
    rows = []
    for name, value in facts:
        first, *others = str(value).split("\n")
        rows += [[name, printable(first)], *(["", printable(one)] for one in others)]
    width = max((cells_of(name) for name, _ in rows), default=0)
    for name, value in rows:
        space = " " * (width - cells_of(name))
        sys.stdout.write(f"{bold(name)}{space}{GAP}{value}".rstrip() + "\n")


def align(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a line for each row, its cells in columns."""
    widths = [max(map(cells_of, column)) for column in zip(*rows, strict=True)]
    return [
        GAP.join(
            cell + " " * (width - cells_of(cell)) for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in rows
    ]


def cells_of(text: str) -> int:
    """Return the columns that text takes on a terminal."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width  # noqa: PLC0415 - few texts need it

    return sum(
        0 if combining(one) else 2 if east_asian_width(one) in {"F", "W"} else 1 for one in text
    )


def bold(text: str) -> str:
    """Return text in bold face, on a terminal that has not been told to do without (NO_COLOR)."""
    if not text or "NO_COLOR" in os.environ or not sys.stdout.isatty():
        return text
    return click.style(text, bold=True)


def hexdump(parts: Iterable[bytes], offset: int) -> Iterator[str]:
    """Spell bytes as `hexdump -C` does; rows that repeat become one `*`."""
    last, starred = b"", False
    for row in rows_of(parts):
        if row == last and len(row) == ROW:
            if not starred:
                yield "*"
            starred = True
        else:
            left, right = row[:8].hex(" "), row[8:].hex(" ")
            text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)
            yield f"{offset:08x}  {left:<23}  {right:<23}  |{text}|"
            starred = False
        last = row
        offset += len(row)
    yield f"{offset:08x}"


def rows_of(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Cut a stream of bytes into rows."""
    rest = b""
    for part in parts:
        data = rest + part
        whole = len(data) - len(data) % ROW
        for start in range(0, whole, ROW):
            yield data[start : start + ROW]
        rest = data[whole:]
    if rest:
        yield rest
