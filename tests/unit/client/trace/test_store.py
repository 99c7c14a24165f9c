"""Saved traces: what goes in comes out, and what makes no sense is refused with its line."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from tests.support.interfaces import BAD_INTERFACES, TOY
from tests.support.trace_events import DEVICE, DRIVER, Tape, block_write
from virtmesh_client.trace.events import ALWAYS, KINDS, Event, Source
from virtmesh_client.trace.store import (
    INTERFACES_MAX,
    LIMITS,
    LINE_MAX,
    SOURCES_MAX,
    TraceWriter,
    load_trace,
    read_trace,
)
from virtmesh_common.errors import BadTrace
from virtmesh_common.interface import MetricInfo, MetricType

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


DESCRIBED = dataclasses.replace(DEVICE, interface=TOY)


def test_how_a_device_describes_itself_is_saved_once() -> None:
    """Both of its sides share it, and so does another run of it."""
    sources = [DESCRIBED, dataclasses.replace(DESCRIBED, run_id="again")]
    saved = save(*(Tape(source)("add") for source in sources))
    assert [next(iter(json.loads(line))) for line in saved.splitlines()] == [
        *("virtmesh", "interface", "source", "of"),
        *("source", "of"),
    ]
    read = list(read_trace(io.StringIO(saved)))
    assert [event.source.interface for event in read] == [TOY, TOY]


def test_a_trace_of_version_1_has_no_descriptions() -> None:
    """It is read as ever."""
    event = Tape(DEVICE)("add")
    lines = save(event).splitlines()
    lines[0] = json.dumps({"virtmesh": "trace", "version": 1})
    assert list(read_trace(io.StringIO("\n".join(lines)))) == [event]


def test_what_a_later_version_adds_to_a_description_is_left_out() -> None:
    """The rest of it is of use."""
    header, described, *rest = save(Tape(DESCRIBED)("add")).splitlines()
    content = json.loads(described)
    content["content"]["colour"] = "red"
    read = read_trace(io.StringIO("\n".join([header, json.dumps(content), *rest])))
    assert next(read).source.interface == TOY


REGISTER = {"name": "R", "size_bytes": 4, "widths_bytes": [4], "access": 1}
BAD_CONTENTS = {
    "nothing": None,
    "no object": [],
    "deep": json.loads('{"registers":' * 60 + "1" + "}" * 60),
    "number that is a text": {"registers": [REGISTER | {"offset": "x"}]},
    "number that is too large": {"registers": [REGISTER | {"offset": 1 << 40}]},
    "half a character": {"kind": "\ud800"},
    "too long": {"title": "x" * 70_000},
    **{name: json_format.MessageToDict(message) for name, message in BAD_INTERFACES.items()},
}


@pytest.mark.parametrize("content", BAD_CONTENTS.values(), ids=BAD_CONTENTS.keys())
def test_a_description_that_makes_no_sense_is_named(content: object) -> None:
    """It is as hostile as the rest of the file."""
    header, _, source, event = save(Tape(DESCRIBED)("add")).splitlines()
    line = json.dumps({"interface": 0, "content": content})
    with pytest.raises(BadTrace, match="line 2: ") as caught:
        list(read_trace(io.StringIO(f"{header}\n{line}\n{source}\n{event}")))
    assert len(caught.value.message) < 500
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("number", [1, -1, True, "0", 0.0, [0]])
def test_a_source_names_a_description_that_is_there(number: object) -> None:
    """By its number."""
    header, described, source, event = save(Tape(DESCRIBED)("add")).splitlines()
    wrong = json.dumps(json.loads(source) | {"interface": number})
    with pytest.raises(BadTrace, match="line 3: "):
        list(read_trace(io.StringIO(f"{header}\n{described}\n{wrong}\n{event}")))


def test_descriptions_are_bounded() -> None:
    """What is written can be read, and a file can't have this hold any number of them."""
    interfaces = [dataclasses.replace(TOY, kind=f"toy{n}") for n in range(INTERFACES_MAX + 1)]
    saved = save(
        *(
            Tape(dataclasses.replace(DEVICE, run_id=one.kind, interface=one))("add")
            for one in interfaces
        )
    )
    read = list(read_trace(io.StringIO(saved)))
    assert [event.source.interface for event in read] == [*interfaces[:-1], None]
    line = next(one for one in saved.splitlines() if one.startswith('{"interface": 0'))
    header = saved.partition("\n")[0]
    lines = [line.replace(": 0", f": {n}", 1) for n in range(INTERFACES_MAX + 1)]
    with pytest.raises(BadTrace, match=f"line {INTERFACES_MAX + 2}: "):
        list(read_trace(io.StringIO("\n".join([header, *lines]))))


def test_the_longest_description_fits_a_line() -> None:
    """Whatever its characters: JSON takes more room than the message."""
    text = '"' * 500
    metrics = tuple(MetricInfo("m", MetricType.GAUGE, meaning=text) for _ in range(120))
    longest = dataclasses.replace(TOY, metrics=metrics)
    saved = save(Tape(dataclasses.replace(DEVICE, interface=longest))("add"))
    assert next(read_trace(io.StringIO(saved))).source.interface == longest
