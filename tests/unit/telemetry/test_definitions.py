"""Metrics as data."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.registry import Collector
from virtmesh_native import BlkDevice

from tests.support.metric_definitions import all_definitions
from virtmesh.telemetry.definitions import LATENCY_BOUNDS, Histogram, counter, histogram, info


def page(metric: object) -> list[str]:
    """Return the lines of a metric on a page."""

    class One(Collector):
        def collect(self) -> list[object]:  # type: ignore[override]  # what it was given
            return [metric]

    registry = CollectorRegistry()
    registry.register(One())
    return generate_latest(registry).decode().splitlines()


def test_a_counter_has_its_labels_in_the_order_they_are_stated() -> None:
    """Values are given by position."""
    accesses = counter("virtmesh_test", "Accesses.", "accesses", "register", "direction")

    lines = page(accesses.of([(("Status", "read"), 3)]))

    assert 'virtmesh_test_total{direction="read",register="Status"} 3.0' in lines


def test_a_histogram_counts_values_up_to_and_with_a_bound() -> None:
    """Buckets are cumulative; what is above all bounds is in +Inf alone."""
    times = Histogram([1.0, 2.0])
    for value in (0.5, 1.0, 1.5, 9.0):
        times.observe(value)

    lines = page(histogram("virtmesh_test_seconds", "Times.").histograms([((), times)]))

    assert times.count == 4
    assert [line for line in lines if not line.startswith("#")] == [
        'virtmesh_test_seconds_bucket{le="1"} 2.0',
        'virtmesh_test_seconds_bucket{le="2"} 3.0',
        'virtmesh_test_seconds_bucket{le="+Inf"} 4.0',
        "virtmesh_test_seconds_count 4.0",
        "virtmesh_test_seconds_sum 12.0",
    ]


def test_an_information_is_always_1() -> None:
    """Its facts are its labels."""
    lines = page(info("virtmesh_test", "What it is.", "kind").facts({"kind": "blk"}))

    assert 'virtmesh_test_info{kind="blk"} 1.0' in lines


def test_bounds_of_latencies_ascend_and_are_told_apart_by_name() -> None:
    """Both those of Python and those of native code; a bucket's name is its bound."""
    for bounds in (LATENCY_BOUNDS, BlkDevice.latency_bounds):
        assert list(bounds) == sorted(set(bounds))
        names = [name for name, _ in Histogram(bounds).buckets()]
        assert [float(name) for name in names[:-1]] == list(bounds)


def test_definitions_are_told_apart_and_explained() -> None:
    """No two areas state one name; each has a meaning, and a unit unless it is 0 or 1."""
    stated = list(all_definitions())

    assert len({one.full_name for one in stated}) == len(stated) > 40
    for one in stated:
        assert one.meaning.endswith(".")
        assert one.unit or one.meaning.startswith(("1 ", "What "))
