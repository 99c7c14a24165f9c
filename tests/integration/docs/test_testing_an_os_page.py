"""docs/testing-an-os.md: its tests with pytest. Those with labgrid are in tests/install."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.tutorial import Reader, files_of, steps_of

pytestmark = pytest.mark.processes

PAGE = (ROOT / "docs" / "testing-an-os.md").read_text()


def test_the_tests_of_the_page_pass(tmp_path: Path) -> None:
    """With the machine file of the page, and the command that it shows."""
    reader = Reader(tmp_path)
    for name in ("machine.toml", "test_os.py"):
        reader.write(name, files_of(PAGE)[name])

    (step,) = steps_of(PAGE)
    reader.follow(step)

    assert not (tmp_path / "disk.img").exists()
