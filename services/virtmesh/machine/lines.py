"""Where the keys of a TOML document are: errors name the line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

HEADER = re.compile(r"\s*(\[\[?)([^\[\]]+)\]")
"""Begins a table, or a table of a list."""
KEY = re.compile(r"""\s*["']?([A-Za-z0-9_-]+)["']?\s*=""")
"""Begins a value."""


def key_lines(text: str) -> Mapping[str, int]:
    """Return the lines of tables and keys by their dotted names, such as "cpu.quirks.vda".

    Tables of lists have none. A line inside a string of many lines may be taken for a key.
    """
    lines: dict[str, int] = {}
    table: str | None = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := HEADER.match(line):
            name = re.sub(r"""[\s"']""", "", header[2])
            table = f"{name}." if header[1] == "[" else None
            if table is not None:
                lines.setdefault(name, number)
        elif table is not None and (key := KEY.match(line)):
            lines.setdefault(f"{table}{key[1]}", number)
    return lines


def find_line(lines: Mapping[str, int], name: str) -> int | None:
    """Return the line of a key, or of the nearest that it is in; None if none is known."""
    while name:
        if name in lines:
            return lines[name]
        name = name.rpartition(".")[0]
    return None
