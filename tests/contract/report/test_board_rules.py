"""Quirks of a CPU's board, and the rules that they help a driver to break."""

from __future__ import annotations

import re
from pathlib import Path

from virtmesh.report.rules import BOARD_QUIRKS, HOLE, find_rule

QUIRKS = Path(__file__).resolve().parents[3] / "native" / "board" / "src" / "quirks.rs"


def test_each_quirk_of_the_board_has_a_rule_of_the_tables() -> None:
    """So that each use of one has a clause and a statement."""
    names = set(re.findall(r'^    name: "(\w+)",$', QUIRKS.read_text(), re.MULTILINE))

    assert names == set(BOARD_QUIRKS)
    assert all(find_rule(rule) for rule in [*BOARD_QUIRKS.values(), HOLE])
