"""The length of files: one idea each, so that none needs more than 400 lines."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.support import ROOT

LINES_MAX = 400
SUFFIXES = (".py", ".rs", ".proto")
EXCEPTIONS = {
    "common/virtmesh_common/evdev.py": "a table of names, written by tools/input_codes.py",
}
"""Files that may be longer, each with its reason."""
GENERATED = ("common/virtmesh_common/api/",)
"""Folders of generated files."""


def source_files() -> list[Path]:
    """Return the source files that git knows, and those that it would take."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    names = [name for name in listed.split("\0") if name.endswith(SUFFIXES)]
    return [Path(name) for name in names if not name.startswith(GENERATED)]


def count_lines(path: Path) -> int:
    """Count the lines of a file of the tree; 0 when it was just removed."""
    file = ROOT / path
    return len(file.read_text(encoding="utf-8").splitlines()) if file.exists() else 0


def test_no_file_is_too_long() -> None:
    """A longer one holds more than one idea: split it there."""
    too_long = {
        str(path): count
        for path in source_files()
        if (count := count_lines(path)) > LINES_MAX and str(path) not in EXCEPTIONS
    }

    assert too_long == {}


def test_every_exception_is_needed() -> None:
    """One that fits again leaves the list."""
    needless = [name for name in EXCEPTIONS if count_lines(Path(name)) <= LINES_MAX]

    assert needless == []
