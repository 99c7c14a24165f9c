"""Pages of the documentation for tests: their links, and the code that is marked to be run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tests.support import ROOT

MARK = "<!-- test -->"
"""Stands on a line of its own above a block of Python that a test runs."""
_BLOCK = re.compile(rf"^{re.escape(MARK)}\n```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def marked_blocks(page: Path) -> Iterator[tuple[int, str]]:
    """Return the marked blocks of a page in order: number of the first line, and the code."""
    text = page.read_text(encoding="utf-8")
    for found in _BLOCK.finditer(text):
        yield text.count("\n", 0, found.start(1)) + 1, found[1]


def run_page(page: Path, **names: object) -> dict[str, object]:
    """Run the marked blocks of a page in one namespace, which is returned.

    A failure names the line of the page.
    """
    namespace: dict[str, object] = {"__name__": "__main__"} | names
    for line, code in marked_blocks(page):
        padded = "\n" * (line - 1) + code
        exec(compile(padded, str(page), "exec"), namespace)  # noqa: S102 - code of this repository
    return namespace


def pages() -> list[Path]:
    """Return the pages for people, in a fixed order."""
    roots = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    return [page for page in roots if page.exists()] + sorted((ROOT / "docs").glob("*.md"))
