"""What devices say that they measure, checked before any of it is used."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from tests.support.metric_answers import HOSTILE, answer, family
from virtmesh.scraping.answer import AnswerReader, encode_answer
from virtmesh.scraping.families import make_page, spell_families
from virtmesh_common.api.metrics.v1 import metrics_pb2 as pb

AWKWARD = 'a "quoted" \\ path'
METRICS = (
    CounterMetricFamily("virtmesh_things", "Things; 100 % \\ good.", value=3),
    GaugeMetricFamily("virtmesh_level", "A level.", labels=["where", "how"]),
    HistogramMetricFamily("virtmesh_times_seconds", "Times.", labels=["type"]),
)
METRICS[1].add_metric([AWKWARD, "x"], math.inf)
METRICS[1].add_metric(["there", ""], -0.5)
METRICS[2].add_metric(["IN"], [("0.1", 1), ("+Inf", 2)], 0.7)


class These(Collector):
    """Collects the metrics above."""

    def collect(self) -> tuple[object, ...]:  # type: ignore[override]  # of several types
        """Return them."""
        return METRICS


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
def test_an_answer_that_breaks_a_rule_is_refused_whole(hostile: bytes) -> None:
    """The reason is one printable line."""
    with pytest.raises(ValueError, match=r"^[^\n]+$") as refused:
        AnswerReader({"device": "vda"}).read(hostile)
    assert str(refused.value).isprintable()


def test_a_page_of_an_answer_is_what_the_library_makes_of_the_same() -> None:
    """Names, types, meanings, labels and values; the reader adds the device."""
    registry = CollectorRegistry()
    registry.register(These())
    sent = encode_answer(spell_families(METRICS, {})).SerializeToString()
    reader = AnswerReader({})

    pages = [make_page(reader.read(sent)).decode() for _ in range(2)]

    assert pages[0] == pages[1]
    assert lines(pages[0]) == lines(generate_latest(registry).decode())
    labelled = make_page(AnswerReader({"device": "vda"}).read(sent)).decode()
    samples = [one for found in text_string_to_metric_families(labelled) for one in found.samples]
    assert {one.labels["device"] for one in samples} == {"vda"}
    assert AWKWARD in {one.labels.get("where") for one in samples}


def lines(page: str) -> set[str]:
    """Return the lines of a page, without times of creation and in no order."""
    return {line for line in page.splitlines() if "_created" not in line}


def test_the_first_of_a_name_says_what_it_is() -> None:
    """Series of one name stand together, whoever they are from."""
    one = AnswerReader({"device": "a"}).read(answer(family("m", meaning="First.")))
    other = AnswerReader({"device": "b"}).read(
        answer(family("x"), family("m", type_=pb.TYPE_COUNTER, meaning="Second."))
    )
    assert make_page([*one, *other]).decode().splitlines() == [
        "# HELP m First.",
        "# TYPE m gauge",
        'm{device="a"} 1.0',
        'm{device="b"} 1.0',
        "# HELP x X.",
        "# TYPE x gauge",
        'x{device="b"} 1.0',
    ]


def test_a_meaning_with_control_characters_is_cleaned() -> None:
    """It reaches terminals, by `virtmesh metrics`."""
    found = AnswerReader({}).read(answer(family("m", meaning="\x1b[31mred\r\n# TYPE m counter")))
    page = make_page(found).decode()
    assert page.splitlines()[0] == "# HELP m ?[31mred??# TYPE m counter"
    assert len(page.splitlines()) == 3


@given(st.text(max_size=200))
def test_what_is_taken_is_one_line_of_printable_characters(spelled: str) -> None:
    """However a series is spelled, it adds no other line to the page."""
    try:
        found = AnswerReader({"device": "vda"}).read(answer(family("m", "m" + spelled)))
    except ValueError:
        return
    (series,) = found[0].series
    assert series.isprintable()
    assert series.count('device="vda"') >= 1
