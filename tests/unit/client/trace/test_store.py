"""Saved traces: what goes in comes out, and what makes no sense is refused with its line."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.trace_events import DEVICE, DRIVER, Tape, block_write
from virtmesh_client.trace.events import ALWAYS, KINDS, Event, Source
from virtmesh_client.trace.store import (
    LIMITS,
    LINE_MAX,
    SOURCES_MAX,
    TraceWriter,
    load_trace,
    read_trace,
)
from virtmesh_common.errors import BadTrace

text = st.text(st.characters(codec="utf-8"), max_size=20)
signed = st.integers(-(1 << 63) + 1, (1 << 63) - 1)
sources = st.builds(Source, text, text, text, text, signed, signed, text, text)
numbers = {name: st.integers(0, limit - 1) for name, limit in LIMITS.items()}
kinds = st.sampled_from([*KINDS, *ALWAYS, "kind_99"])
events = st.builds(Event, source=sources, kind=kinds, text=text, **numbers)


def save(*saved: Event) -> str:
    """Write events."""
    file = io.StringIO()
    writer = TraceWriter(file.write)
    for event in saved:
        writer.add(event)
    return file.getvalue()


@given(st.lists(events, max_size=10))
def test_any_trace_survives(saved: list[Event]) -> None:
    """Any source, any kind, any number, any text."""
    assert list(read_trace(io.StringIO(save(*saved)))) == saved


def test_a_source_is_written_once() -> None:
    """However many events it has."""
    lines = save(*block_write(1, 0, Tape(DRIVER), Tape(DEVICE))).splitlines()
    assert len(lines) == 1 + 2 + 10


EVENT = {"of": 0, "sequence": 1, "time_ns": 2, "kind": "add"}
BAD_LINES = {
    "no JSON": "{",
    "deep": "[" * 5000,
    "no object": "[]",
    "no such source": json.dumps(EVENT | {"of": 1}),
    "source that is no number": json.dumps(EVENT | {"of": True}),
    "no such kind": json.dumps(EVENT | {"kind": "addd"}),
    "kind that is no text": json.dumps(EVENT | {"kind": ["add"]}),
    "kind with too large a number": json.dumps(EVENT | {"kind": f"kind_{10**12}"}),
    "negative number": json.dumps(EVENT | {"value": -1}),
    "number of 65 bits": json.dumps(EVENT | {"extra": 1 << 64}),
    "queue of 33 bits": json.dumps(EVENT | {"queue": 1 << 32}),
    "fraction": json.dumps(EVENT | {"time_ns": 1.5}),
    "truth": json.dumps(EVENT | {"token": True}),
    "field that is not known": json.dumps(EVENT | {"colour": "red"}),
    "missing field": json.dumps({"of": 0, "kind": "add"}),
    "long text": json.dumps(EVENT | {"text": "x" * 5000}),
    "half a character": json.dumps(EVENT | {"text": "\ud800"}),
    "text that is none": json.dumps(EVENT | {"text": 7}),
    "long line": " " * LINE_MAX + "{}",
    "source out of turn": json.dumps({"source": 7}),
    "source without fields": json.dumps({"source": 1}),
}


@pytest.mark.parametrize("line", BAD_LINES.values(), ids=BAD_LINES.keys())
def test_a_line_that_makes_no_sense_is_named(line: str, tmp_path: Path) -> None:
    """With the file, in the message and in the metadata."""
    good = save(Tape(DEVICE)("add"))
    path = tmp_path / "bad.jsonl"
    path.write_text(good + line + "\n")
    with pytest.raises(BadTrace, match=r"bad\.jsonl: line 4: ") as caught:
        list(load_trace(path))
    assert caught.value.metadata == {"line": "4", "file": str(path)}
    assert len(caught.value.message) < 500


@pytest.mark.parametrize(
    "content", ["", "{}\n", '{"virtmesh": "input recording"}\n', '{"virtmesh": "trace"}\n']
)
def test_a_file_that_is_no_trace_is_refused_by_its_first_line(content: str) -> None:
    """Empty, something else, or of a version to come."""
    with pytest.raises(BadTrace, match="line 1: "):
        list(read_trace(io.StringIO(content)))


def test_a_trace_of_an_earlier_version_has_no_reg_shift() -> None:
    """It is read as ever."""
    event = Tape(DEVICE)("add")
    header, source, line = save(event).splitlines()
    facts = {name: value for name, value in json.loads(source).items() if name != "reg_shift"}

    assert list(read_trace(io.StringIO("\n".join([header, json.dumps(facts), line])))) == [event]


@pytest.mark.parametrize(
    "facts",
    [{"device": 7}, {"device": "\ud800"}, {"boot_id": "x" * 5000}, {"virtio_device_id": 0.5}],
)
def test_a_source_that_makes_no_sense_is_refused(facts: dict[str, object]) -> None:
    """Its fields have types and lengths."""
    header, source, *_ = save(Tape(DEVICE)("add")).splitlines()
    lines = [header, json.dumps(json.loads(source) | facts)]
    with pytest.raises(BadTrace, match="line 2: "):
        list(read_trace(io.StringIO("\n".join(lines))))


def test_sources_are_bounded() -> None:
    """A file can't have this hold any number of them."""
    header, source, *_ = save(Tape(DEVICE)("add")).splitlines()
    facts = json.loads(source)
    lines = [json.dumps(facts | {"source": number}) for number in range(SOURCES_MAX + 1)]
    with pytest.raises(BadTrace, match=f"line {SOURCES_MAX + 2}: "):
        list(read_trace(io.StringIO("\n".join([header, *lines]))))


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    """Such as a trace for Perfetto."""
    path = tmp_path / "trace"
    path.write_bytes(b"\x0a\xff\xfe")
    with pytest.raises(BadTrace, match="not UTF-8"):
        list(load_trace(path))
