"""Saved traces: events in a file, with what it takes to decode them anywhere, later.

JSON lines. The first says what the file is. A source has a line before its first event, and how its
device describes itself a line before that; each other line is an event, in the order in which it
was shown. Numbers that are 0 are left out. Files of version 1 have no descriptions.

    {"virtmesh": "trace", "version": 2}
    {"interface": 0, "content": {"kind": "blk", "registers": [...], ...}}
    {"source": 0, "interface": 0, "device": "vda", "side": "device", "kind": "blk", ...}
    {"of": 0, "sequence": 17, "time_ns": 12345678, "kind": "register_write", "detail": 4, ...}
"""

from __future__ import annotations

import json
import re
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from virtmesh_client.interface import interface_from_json, interface_to_json
from virtmesh_client.json_lines import parse_object
from virtmesh_client.trace.events import ALWAYS, KINDS, Event, Source
from virtmesh_common.errors import BadTrace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path
    from typing import TextIO

    from virtmesh_common.interface import Interface

MAGIC, VERSION = "trace", 2
VERSIONS = (1, VERSION)
"""Versions that are read."""
LINE_MAX = 1 << 19
"""Longest line that is read, in characters: the longest description fits."""
TEXT_MAX = 4096
"""Longest text of an event or of a source, in characters."""
SOURCES_MAX = 4096
"""Most sources of a file: each restart of a service makes new ones."""
INTERFACES_MAX = 256
"""Most descriptions of devices in a file; sources with the same one share it."""

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
SOURCE_FIELDS = frozenset(field.name for field in fields(Source)) - {"interface"}
HALVES = re.compile("[\ud800-\udfff]")
"""Surrogates without their other half: no encoding has them."""
UNKNOWN_KIND = re.compile(r"kind_\d{1,10}")


class TraceWriter:
    """Writes a trace, a line at a time."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._sources: dict[Source, int] = {}
        self._interfaces: dict[Interface, int] = {}
        self._line({"virtmesh": MAGIC, "version": VERSION})

    def add(self, event: Event) -> None:
        """Write an event, behind its source when that is new."""
        number = self._sources.get(event.source)
        if number is None:
            number = self._add_source(event.source)
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

    def _add_source(self, source: Source) -> int:
        """Write a source, behind how its device describes itself; returns its number."""
        number = self._sources[source] = len(self._sources)
        line: dict[str, Any] = {"source": number}
        if (described := self._describe(source.interface)) is not None:
            line["interface"] = described
        self._line(line | {name: getattr(source, name) for name in sorted(SOURCE_FIELDS)})
        return number

    def _describe(self, interface: Interface | None) -> int | None:
        """Write a description that is new; returns its number, None for one that is left out."""
        if interface is None:
            return None
        number = self._interfaces.get(interface)
        if number is None and len(self._interfaces) < INTERFACES_MAX:
            number = self._interfaces[interface] = len(self._interfaces)
            self._line({"interface": number, "content": interface_to_json(interface)})
        return number

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
    interfaces: list[Interface] = []
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
            sources.append(parse_source(number, content, interfaces))
        elif "interface" in content:
            if content.pop("interface") != len(interfaces) or len(interfaces) == INTERFACES_MAX:
                raise bad(number, f"interfaces are numbered from 0 on, at most {INTERFACES_MAX}")
            interfaces.append(parse_content(number, content))
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
    if content.get("version") not in VERSIONS:
        raise bad(
            1,
            f"version {content.get('version')!r} is not known: this reads versions up to {VERSION}",
        )


def parse_content(line: int, content: dict[str, Any]) -> Interface:
    """Read how a device describes itself. Errors: BadTrace."""
    try:
        return interface_from_json(content.get("content"))
    except ValueError as error:
        raise bad(line, f"a description that can't be: {str(error)[:200]}") from None


def parse_source(line: int, content: dict[str, Any], interfaces: Sequence[Interface]) -> Source:
    """Read a source. Errors: BadTrace."""
    content = {"reg_shift": 0, **content}  # Earlier writers left it out.
    described = content.pop("interface", None)
    if wrong := SOURCE_FIELDS ^ set(content):
        raise bad(line, f"a source has {', '.join(sorted(SOURCE_FIELDS))}; look at {first(wrong)}")
    for name, value in content.items():
        if name in SOURCE_NUMBERS:
            if type(value) is not int or abs(value) >= 1 << 63:
                raise bad(line, f"{name} is a whole number of 64 bits")
        elif not is_text(value):
            raise bad(line, f"{name} is a Unicode text of at most {TEXT_MAX} characters")
    return Source(**content, interface=find_interface(line, described, interfaces))


def find_interface(line: int, number: object, interfaces: Sequence[Interface]) -> Interface | None:
    """Return the description that a source names, if it has one. Errors: BadTrace."""
    if number is None:
        return None
    if type(number) is not int or not 0 <= number < len(interfaces):
        raise bad(line, f"no interface has the number {str(number)[:64]}")
    return interfaces[number]


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
