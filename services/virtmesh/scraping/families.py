"""Families of metrics with their values, and Prometheus' text format 0.0.4.

A family is spelled once, where it is measured; a page joins those of several services.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client.utils import floatToGoString

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from prometheus_client import Metric

COUNTER, GAUGE, HISTOGRAM, SUMMARY, UNTYPED = "counter", "gauge", "histogram", "summary", "untyped"
PARTS: Mapping[str, tuple[str, ...]] = {
    COUNTER: ("",),
    GAUGE: ("",),
    UNTYPED: ("",),
    HISTOGRAM: ("_bucket", "_sum", "_count"),
    SUMMARY: ("", "_sum", "_count"),
}
"""What the names of the series of a family add to its own, by its type."""
SUFFIXES = {"counter": "_total", "info": "_info"}
"""What a name on the page has beside the name in the code."""
VALUE_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})
spell_value: Callable[[float], str] = floatToGoString
"""Spells a value, as Go does."""
MEANING_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n"})


@dataclass(frozen=True)
class Family:
    """One metric with its values: `series` spells what each of `values` is of."""

    name: str
    type: str
    meaning: str
    series: list[str]
    values: list[float]


def spell_families(metrics: Iterable[Metric], labels: Mapping[str, str]) -> list[Family]:
    """Return metrics as families, with labels added to each series."""
    return [_family(metric, labels) for metric in metrics]


def _family(metric: Metric, labels: Mapping[str, str]) -> Family:
    """Return a metric as a family. Times of creation, which few read, are left out."""
    name = metric.name + SUFFIXES.get(metric.type, "")
    kind = GAUGE if metric.type == "info" else metric.type
    kind = kind if kind in PARTS else UNTYPED
    samples = [one for one in metric.samples if not one.name.endswith("_created")]
    series = [spell_series(one.name, {**labels, **one.labels}) for one in samples]
    return Family(name, kind, metric.documentation, series, [float(one.value) for one in samples])


def spell_series(name: str, labels: Mapping[str, str]) -> str:
    """Spell what a value is of. Labels are sorted."""
    if not labels:
        return name
    pairs = [f'{key}="{labels[key].translate(VALUE_ESCAPES)}"' for key in sorted(labels)]
    return f"{name}{{{','.join(pairs)}}}"


def make_page(families: Iterable[Family]) -> bytes:
    """Return the page. Of families with one name, the first one says what they are."""
    by_name: dict[str, list[Family]] = {}
    for family in families:
        by_name.setdefault(family.name, []).append(family)
    return "".join(line for same in by_name.values() for line in _lines(same)).encode()


def _lines(same: list[Family]) -> Iterator[str]:
    """Return the lines of all families of one name."""
    first = same[0]
    yield f"# HELP {first.name} {first.meaning.translate(MEANING_ESCAPES)}\n"
    yield f"# TYPE {first.name} {first.type}\n"
    for family in same:
        for series, value in zip(family.series, family.values, strict=True):
            yield f"{series} {spell_value(value)}\n"
