"""Statistics of the benchmark suite."""

from __future__ import annotations

from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.suite.figures import Quartiles, merged, percentile, quartiles, ratios


def test_quartiles_are_those_of_the_values() -> None:
    """Five values have their second and fourth as quartiles."""
    assert quartiles([5.0, 1.0, 3.0, 2.0, 4.0]) == Quartiles(2.0, 3.0, 4.0)


def test_one_round_has_no_spread() -> None:
    """All three are the value."""
    assert quartiles([7.0]) == Quartiles(7.0, 7.0, 7.0)


def test_no_values_have_no_quartiles() -> None:
    """An empty list is refused."""
    with pytest.raises(ValueError, match="no values"):
        quartiles([])


@given(st.lists(st.floats(min_value=0, max_value=1e12), min_size=1, max_size=30))
def test_quartiles_are_in_order_and_around_the_median(values: list[float]) -> None:
    """They lie within the values, whatever these are."""
    found = quartiles(values)

    assert min(values) <= found.low <= found.median <= found.high <= max(values)
    assert found.median == median(values)


def test_ratios_are_of_the_same_round() -> None:
    """A host that slows down in the course of a run changes no ratio."""
    assert ratios([10.0, 5.0, 1.0], [20.0, 10.0, 2.0]) == [0.5, 0.5, 0.5]


@pytest.mark.parametrize("peer", [0.0, -1.0, float("nan"), float("inf")])
def test_a_peer_that_did_nothing_has_no_ratio(peer: float) -> None:
    """It is an error, and no row with an infinite figure."""
    with pytest.raises(ValueError, match="no ratio"):
        ratios([1.0], [peer])


def test_rounds_that_are_missing_on_one_side_are_an_error() -> None:
    """Both sides have as many rounds."""
    with pytest.raises(ValueError, match="shorter"):
        ratios([1.0, 2.0], [1.0])


def test_histograms_add_up() -> None:
    """Buckets with the same end are one."""
    assert merged([[(10, 1), (20, 2)], [(20, 3), (5, 1)]]) == [(5, 1), (10, 1), (20, 5)]


@pytest.mark.parametrize(("percent", "end"), [(1, 10), (50, 10), (51, 20), (99, 20), (100, 30)])
def test_a_percentile_is_the_end_of_its_bucket(percent: float, end: int) -> None:
    """Half of ten are in the first bucket."""
    assert percentile([(10, 50), (20, 49), (30, 1)], percent) == end


def test_an_empty_histogram_has_no_percentiles() -> None:
    """It is refused."""
    with pytest.raises(ValueError, match="empty"):
        percentile([], 50)
