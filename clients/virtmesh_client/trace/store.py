"""Saved traces: events in a file, with what it takes to decode them anywhere, later.

JSON lines. The first says what the file is. A source has a line before its first event; each other
line is an event, in the order in which it was shown. Numbers that are 0 are left out.

    {"virtmesh": "trace", "version": 1}
    {"source": 0, "device": "vda", "side": "device", "kind": "blk", "virtio_device_id": 2, ...}
    {"of": 0, "sequence": 17, "time_ns": 12345678, "kind": "register_write", "detail": 4, ...}
"""

from __future__ import annotations

import json
import re
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from virtmesh_client.json_lines import parse_object
from virtmesh_client.trace.events import ALWAYS, KINDS, Event, Source
from virtmesh_common.errors import BadTrace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path
    from typing import TextIO

MAGIC, VERSION = "trace", 1
LINE_MAX = 1 << 16
"""Longest line that is read, in characters."""
TEXT_MAX = 4096
"""Longest text of an event or of a source, in characters."""
SOURCES_MAX = 4096
"""Most sources of a file: each restart of a service makes new ones."""

LIMITS = {
    "sequence": 1 << 64,
    "time_ns": 1 << 64,
    "detail": 1 << 32,
    "queue": 1 << 32,
    "token": 1 << 32,
    "value": 1 << 64,
    "extra": 1 << 64,
}
"""What the numbers of an event are below (virtmesh.trace.v1.Page)."""
NEEDED = frozenset({"of", "sequence", "time_ns", "kind"})
EVENT_FIELDS = frozenset({"of", "kind", "text", *LIMITS})
SOURCE_NUMBERS = frozenset({"virtio_device_id", "realtime_offset_ns", "reg_shift"})
SOURCE_FIELDS = frozenset(field.name for field in fields(Source))
HALVES = re.compile("[\ud800-\udfff]")
"""Surrogates without their other half: no encoding has them."""
UNKNOWN_KIND = re.compile(r"kind_\d{1,10}")


class TraceWriter:
    """Writes a trace, a line at a time."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._sources: dict[Source, int] = {}
        self._line({"virtmesh": MAGIC, "version": VERSION})

    def add(self, event: Event) -> None:
        """Write an event, behind its source when that is new."""
        number = self._sources.get(event.source)
        if number is None:
            number = self._sources[event.source] = len(self._sources)
            facts = {name: getattr(event.source, name) for name in sorted(SOURCE_FIELDS)}
            self._line({"source": number, **facts})
        line: dict[str, Any] = {
            "of": number,
            "sequence": event.sequence,
            "time_ns": event.time_ns,
            "kind": event.kind,
        }
        for name in ("detail", "queue", "token", "value", "extra", "text"):
            if value := getattr(event, name):
                line[name] = value
        self._line(line)

    def _line(self, content: dict[str, Any]) -> None:
        self._write(json.dumps(content, ensure_ascii=False) + "\n")


def load_trace(path: Path) -> Iterator[Event]:
    """Read a saved trace, an event at a time. Errors: BadTrace with file and line; OSError."""
    with path.open(encoding="utf-8-sig") as file:
        try:
            yield from read_trace(file)
        except UnicodeDecodeError:
            raise BadTrace(f"{path}: not UTF-8 text", file=path) from None
        except BadTrace as error:
            raise BadTrace(f"{path}: {error.message}", **error.metadata, file=path) from None


def read_trace(file: TextIO) -> Iterator[Event]:
    """Take the lines of a saved trace apart. Errors: BadTrace with the number of the line."""
    sources: list[Source] = []
    number = 0
    while text := file.readline(LINE_MAX + 1):
        number += 1
        if len(text) > LINE_MAX:
            raise bad(number, f"longer than {LINE_MAX} characters")
        content = parse_object(number, text, bad)
        if number == 1:
            check_header(content)
        elif "source" in content:
            if content.pop("source") != len(sources) or len(sources) == SOURCES_MAX:
                raise bad(number, f"sources are numbered from 0 on, at most {SOURCES_MAX}")
            sources.append(parse_source(number, content))
        else:
            yield parse_event(number, content, sources)
    if not number:
        raise bad(1, "the file is empty")


def bad(line: int, message: str) -> BadTrace:
    """Return an error that names its line."""
    return BadTrace(f"line {line}: {message}", line=line)


def check_header(content: dict[str, Any]) -> None:
    """Check the first line. Errors: BadTrace."""
    if content.get("virtmesh") != MAGIC:
        raise bad(1, f'not a trace: it begins with {{"virtmesh": "{MAGIC}", ...}}')
    if content.get("version") != VERSION:
        raise bad(1, f"version {content.get('version')!r} is not known: this reads {VERSION}")


def parse_source(line: int, content: dict[str, Any]) -> Source:
    """Read a source. Errors: BadTrace."""
    content = {"reg_shift": 0, **content}  # Earlier writers left it out.
    if wrong := SOURCE_FIELDS ^ set(content):
        raise bad(line, f"a source has {', '.join(sorted(SOURCE_FIELDS))}; look at {first(wrong)}")
    for name, value in content.items():
        if name in SOURCE_NUMBERS:
            if type(value) is not int or abs(value) >= 1 << 63:
                raise bad(line, f"{name} is a whole number of 64 bits")
        elif not is_text(value):
            raise bad(line, f"{name} is a Unicode text of at most {TEXT_MAX} characters")
    return Source(**content)


def parse_event(line: int, content: dict[str, Any], sources: list[Source]) -> Event:
    """Read an event. Errors: BadTrace."""
    if wrong := (set(content) - EVENT_FIELDS) | (NEEDED - set(content)):
        raise bad(
            line, f"an event has of, sequence, time_ns, kind and numbers; look at {first(wrong)}"
        )
    of, kind, text = content["of"], content["kind"], content.get("text", "")
    if type(of) is not int or not 0 <= of < len(sources):
        raise bad(line, f"no source has the number {of!r}")
    if not isinstance(kind, str) or not is_kind(kind):
        raise bad(line, f"no kind of event is {kind!r}")
    if not is_text(text):
        raise bad(line, f"text is a Unicode text of at most {TEXT_MAX} characters")
    numbers = {name: content.get(name, 0) for name in LIMITS}
    for name, value in numbers.items():
        if type(value) is not int or not 0 <= value < LIMITS[name]:
            bits = LIMITS[name].bit_length() - 1
            raise bad(line, f"{name} is a whole number of {bits} bits, not {value!r}")
    return Event(source=sources[of], kind=kind, text=text, **numbers)


def is_kind(kind: str) -> bool:
    """Say whether an event can be of a kind."""
    return kind in KINDS or kind in ALWAYS or UNKNOWN_KIND.fullmatch(kind) is not None


def is_text(value: object) -> bool:
    """Say whether something is a text of Unicode: JSON can spell halves of characters too."""
    return isinstance(value, str) and len(value) <= TEXT_MAX and not HALVES.search(value)


def first(names: Iterable[str]) -> str:
    """Name the first of some fields, cut to a length that fits a line."""
    return repr(min(names))[:64]
