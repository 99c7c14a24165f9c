"""Two results of the benchmark suite beside each other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.bench.suite.beside import pairs, to_markdown
from tests.bench.suite.experiment import Row
from tests.bench.suite.host import Host
from tests.bench.suite.report import Facts, to_json
from tests.bench.suite.runner import Outcome, Run

HOST = Host("EPYC", 2, "6.1", 8.0, "3.11", "qsd 7.2", "abc", "ext4 at /", "not shown", 1.0)
FACTS = Facts("2026-11-30T12:00:00+00:00", "bench", 3, 0.2, 60.0, 1.5, (0, 1), HOST)


def result(**rounds: list[float]) -> dict[str, Any]:
    """Make a result of rows whose peer always has 1; a row without rounds was not measured."""
    outcomes = [
        Outcome(
            Row(name, "what", "peer", "unit", "higher"),
            "one CPU",
            values,
            [1.0] * len(values),
            why="" if values else "there is none",
        )
        for name, values in rounds.items()
    ]
    return to_json(Run(outcomes), FACTS)


def test_ratios_differ_where_their_middle_halves_are_apart() -> None:
    """Rounds that overlap are noise, whichever median is the higher one."""
    first = result(apart=[1.0, 1.1, 1.2], over=[1.0, 1.2, 1.4], down=[9.0, 9.1, 9.2])
    second = result(apart=[2.0, 2.1, 2.2], over=[1.1, 1.3, 1.5], down=[1.0, 1.1, 1.2])

    assert [(one.name, one.differs) for one in pairs(first, second)] == [
        ("apart", True),
        ("over", False),
        ("down", True),
    ]


def test_rows_that_one_of_them_has_not_measured_are_left_out() -> None:
    """There is nothing to compare."""
    first = result(both=[1.0], lost=[1.0], never=[])
    second = result(both=[1.0], lost=[], never=[], added=[1.0])

    assert [one.name for one in pairs(first, second)] == ["both"]


def test_the_table_says_what_changed_and_of_what() -> None:
    """Date, commit and load stand above it."""
    page = to_markdown(result(row=[1.0, 1.0, 1.0]), result(row=[2.0, 2.0, 2.0]))

    assert "| `row` | 1.00 (1.00 to 1.00) | 2.00 (2.00 to 2.00) | 2.00 | yes |" in page
    assert page.count("commit `abc`, 3 rounds, load 1.0 to 1.5") == 2


def test_a_result_of_another_schema_is_refused() -> None:
    """Its fields may mean something else."""
    with pytest.raises(ValueError, match="schema"):
        pairs({**result(row=[1.0]), "schema": 0}, result(row=[1.0]))


def test_facts_of_both_are_kept_apart() -> None:
    """The second line is the second one's."""
    later = to_json(Run([]), replace(FACTS, date="2026-12-01T12:00:00+00:00"))

    first, second, *_ = to_markdown(result(), later).splitlines()

    assert "2026-11-30" in first
    assert "2026-12-01" in second
