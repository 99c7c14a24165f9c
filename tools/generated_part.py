"""The part of a page that a tool writes, between two lines that stay: written, or compared."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

END = "<!-- end -->\n"
"""The line behind the part."""


def write_or_check(
    page: Path, begin: str, body: Callable[[], str], *, about: str | None, command: str
) -> int:
    """Read the command line; write the part, or with --check return 1 when it is out of date.

    `begin` is the line before the part, `body` makes the part, `about` is the tool's help, and
    `command` is what people run to bring the page up to date.
    """
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    options = parser.parse_args()
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition(begin)
    _, end, after = rest.partition(END)
    if not end:
        print(f"{page}: the lines {begin.strip()} and {END.strip()} are missing", file=sys.stderr)
        return 1
    fresh = f"{before}{begin}\n{body()}{END}{after}"
    if not options.check:
        page.write_text(fresh, encoding="utf-8")
        return 0
    if fresh == text:
        return 0
    print(f"docs/{page.name} is out of date: run {command}", file=sys.stderr)
    return 1
