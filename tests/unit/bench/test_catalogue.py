"""The rows of the benchmark suite."""

from __future__ import annotations

import pytest

from tests.bench.suite.catalogue import choose, experiments
from tests.support import ROOT


@pytest.mark.parametrize("long", [False, True])
def test_each_row_has_a_name_of_its_own(long: bool) -> None:  # noqa: FBT001 - a parameter
    """A name picks one row, and rows of one point belong to one experiment."""
    rows = [row.name for one in experiments(long=long) for row in one.rows]

    assert len(rows) == len(set(rows))


def test_a_long_run_has_all_rows_of_a_short_one() -> None:
    """It has more depths."""
    short, long = (
        {row.name for one in experiments(long=which) for row in one.rows} for which in (False, True)
    )

    assert short < long


def test_a_pattern_chooses_rows() -> None:
    """Without one, all are chosen."""
    found = experiments(long=False)

    assert choose(found, ["direct-*-d1", "ring"]) == {"direct-read-d1", "direct-write-d1", "ring"}
    assert len(choose(found, [])) == sum(len(one.rows) for one in found)


def test_a_pattern_that_matches_nothing_is_an_error() -> None:
    """A row that is spelt wrong is not an empty run."""
    with pytest.raises(LookupError, match="no row is called red"):
        choose(experiments(long=False), ["ring", "red"])


def test_the_page_names_every_row() -> None:
    """By name, or by a pattern of several."""
    page = (ROOT / "docs/benchmarks.md").read_text()
    found = experiments(long=True)
    patterns = [
        word.strip("`")
        for line in page.splitlines()
        if line.startswith("| `")
        for word in line.split("|")[1].split()
    ]

    named = set().union(*(choose(found, [one]) for one in patterns))

    assert named == choose(found, [])
