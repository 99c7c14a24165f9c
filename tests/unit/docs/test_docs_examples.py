"""The examples of docs/testing.md, run in order in one namespace."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.docs import marked_blocks, run_page

PAGE = ROOT / "docs" / "testing.md"
FAKES = (
    *("FakeKernel", "ScriptedLine", "LocalBus", "ScriptedDisk", "ScriptedInput", "ScriptedDriver"),
    *("ManualClock", "MemoryLine", "MemoryTty"),
)


def test_the_examples_run() -> None:
    """Each block sees what those before it have defined; their assertions hold."""
    names = run_page(PAGE)

    assert set(FAKES) <= set(names)


def test_a_failing_example_names_its_line(tmp_path: Path) -> None:
    """The line is that of the page."""
    page = tmp_path / "page.md"
    page.write_text("# Page\n\n<!-- test -->\n```python\nassert 1 == 2\n```\n")

    with pytest.raises(AssertionError) as failure:
        run_page(page)

    assert failure.traceback[-1].lineno == 4
    assert [line for line, _ in marked_blocks(page)] == [5]
