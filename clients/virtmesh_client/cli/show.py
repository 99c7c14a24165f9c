"""Results on standard output: tables for people, JSON for programs, bytes as a hex dump."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, is_dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

ROW = 16
"""Bytes of one row of a hex dump."""
WIDEST = 1000
"""Widest table."""


def show_json(value: object) -> None:
    """Print a value as JSON; dataclasses become objects."""
    sys.stdout.write(json.dumps(value, default=plain, indent=2) + "\n")


def plain(value: object) -> Any:
    """Return what JSON can hold."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return str(value)


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(escape(str(cell)) for cell in row))
    show(table)


def show_facts(facts: Iterable[tuple[str, object]]) -> None:
    """Print names and values, one a line."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(name, escape(str(value)))
    show(table)


def show(table: Table) -> None:
    """Print a table as wide as its content.

    What is wider than the terminal is for the terminal to wrap: folded into its column, an address
    could not be copied any more.
    """
    console = Console(file=sys.stdout, width=WIDEST, highlight=False)
    with console.capture() as capture:
        console.print(table)
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in capture.get().splitlines()))


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
