"""A fault as it is ordered: `FaultSpec`, and how it is written in words.

    io-error type=write sectors=100-199 every=3 probability=0.5 limit=2 seed=7

The command line and machine files use these words; virtmesh.fault.v1 says what they mean.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from virtmesh_common.fault.words import KINDS, REQUEST_TYPES, read_chance, read_count, read_range

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
    from typing import Any

COUNT_MAX = (1 << 64) - 1
QUEUE_MAX = 63
"""Highest index of a queue."""
SEPARATOR = ";"
"""Stands between faults in one text."""
TEXT_MAX = 1024
"""Most characters of a fault in words."""


@dataclass(frozen=True)
class FaultSpec:
    """A fault: what it does, which events it is about, and which of them it takes."""

    kind: str
    """A word of KINDS."""
    types: tuple[str, ...] = ()
    """Only requests of these types, words of REQUEST_TYPES; empty: all."""
    sectors: tuple[int, int] | None = None
    """Only requests that touch a sector from the first to the last of these, both included."""
    queue: int | None = None
    """Only of this queue."""
    after: int = 0
    """So many events pass first."""
    every: int = 1
    """Then it is the turn of each of this number."""
    probability: float = 1.0
    """How likely it takes one whose turn it is."""
    limit: int = 0
    """Most that it takes; 0: any number."""
    seed: int | None = None
    """What its random numbers come from; None: the service chooses one."""

    def __str__(self) -> str:
        words = [self.kind]
        for key, default in DEFAULTS.items():
            value = getattr(self, key)
            if value != default:
                words.append(f"{NAMES.get(key, key)}={spell(value)}")
        return " ".join(words)


DEFAULTS: Mapping[str, object] = {
    one.name: one.default for one in fields(FaultSpec) if one.name != "kind"
}
NAMES = {"types": "type"}
"""What fields are called in words, where that is another name."""


def spell(value: object) -> str:
    """Spell a value of a field."""
    if isinstance(value, tuple):
        if value and isinstance(value[0], int):
            first, last = value
            return str(first) if first == last else f"{first}-{last}"
        return ",".join(map(str, value))
    return str(value)


def read_types(text: str) -> tuple[str, ...]:
    """Read types of requests, parted by commas. Errors: ValueError."""
    words = tuple(dict.fromkeys(text.split(",")))
    for word in words:
        if word not in REQUEST_TYPES:
            raise ValueError(f"{word!r} is no type: choose among {', '.join(REQUEST_TYPES)}")
    return words


READERS: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "type": ("types", read_types),
    "sectors": ("sectors", read_range),
    "queue": ("queue", lambda text: read_count(text, QUEUE_MAX)),
    "after": ("after", read_count),
    "every": ("every", lambda text: read_count(text, least=1)),
    "probability": ("probability", read_chance),
    "limit": ("limit", read_count),
    "seed": ("seed", read_count),
}
"""By key: the field of FaultSpec, and what reads its value. They raise ValueError."""


def parse_words(words: Iterable[str]) -> FaultSpec:
    """Read a fault from its words: the kind, and KEY=VALUE for the rest. Errors: ValueError."""
    kind, *rest = words
    if kind not in KINDS:
        raise ValueError(f"{kind!r} is no fault: choose among {', '.join(KINDS)}")
    values: dict[str, Any] = {}
    for word in rest:
        key, equals, text = word.partition("=")
        if not equals or key not in READERS:
            raise ValueError(f"{word!r}: write KEY=VALUE with one of {', '.join(READERS)}")
        field, read = READERS[key]
        if field in values:
            raise ValueError(f"{key} is there twice")
        try:
            values[field] = read(text)
        except ValueError as error:
            raise ValueError(f"{key}: {error}") from None
    return FaultSpec(kind, **values)


def parse_fault(text: str) -> FaultSpec:
    """Read a fault from its text. Errors: ValueError."""
    if len(text) > TEXT_MAX:
        raise ValueError(f"a fault has at most {TEXT_MAX} characters")
    words = re.split(r"\s+", text.strip())
    return parse_words(words)


def check_kind(spec: FaultSpec, kinds: Collection[str], name: str) -> None:
    """Refuse a fault that a device can't have, whose `kinds` these are. Errors: ValueError."""
    if spec.kind not in kinds:
        can = ", ".join(sorted(kinds)) or "none"
        raise ValueError(f"{name} can't have the fault {spec.kind}: it can have {can}")
