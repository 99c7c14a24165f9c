"""A fault as it is ordered: `FaultSpec`, and how it is written in words.

    io-error type=write sectors=100-199 every=3 probability=0.5 limit=2 seed=7

The command line and machine files use these words; virtmesh.fault.v1 says what they mean.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from virtmesh_common.fault import values
from virtmesh_common.fault.words import KINDS, NEEDED, ONLY_FOR, SPECIAL

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
    from typing import Any

    from virtmesh_common.fault.values import Delay

SEPARATOR = ";"
"""Stands between faults in one text."""
TEXT_MAX = 1024
"""Most characters of a fault in words."""


@dataclass(frozen=True)
class FaultSpec:
    """A fault: what it does, which events it is about, and which of them it takes.

    Errors: ValueError for a field that its kind can't have, or lacks.
    """

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
    delay: Delay | None = None
    """How long an event is delayed."""
    size: int | None = None
    """How many bytes."""
    seed: int | None = None
    """What its random numbers come from; None: the service chooses one."""

    def __post_init__(self) -> None:
        """Check that the fields are those of the kind."""
        if self.kind not in KINDS:
            raise ValueError(f"{self.kind!r} is no fault: choose among {', '.join(KINDS)}")
        given = [name for name, default in DEFAULTS.items() if getattr(self, name) != default]
        for name in given:
            if name in SPECIAL and name not in ONLY_FOR[self.kind]:
                raise ValueError(f"{self.kind} has no {KEYS[name]}: leave it out")
        needed = NEEDED.get(self.kind)
        if needed and needed not in given:
            raise ValueError(f"{self.kind} needs {KEYS[needed]}=...")

    def __str__(self) -> str:
        words = [self.kind]
        for name, default in DEFAULTS.items():
            value = getattr(self, name)
            if value != default:
                words.append(f"{KEYS[name]}={values.spell(value)}")
        return " ".join(words)


DEFAULTS: Mapping[str, object] = {
    one.name: one.default for one in fields(FaultSpec) if one.name != "kind"
}
READERS: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "type": ("types", values.read_types),
    "sectors": ("sectors", values.read_range),
    "queue": ("queue", values.read_queue),
    "after": ("after", values.read_count),
    "every": ("every", values.read_turn),
    "probability": ("probability", values.read_chance),
    "limit": ("limit", values.read_turn),
    "delay": ("delay", values.read_delay),
    "bytes": ("size", values.read_count),
    "seed": ("seed", values.read_count),
}
"""By key: the field of FaultSpec, and what reads its value."""
KEYS: Mapping[str, str] = {field: key for key, (field, _) in READERS.items()}
"""The keys by the fields."""


def parse_words(words: Iterable[str]) -> FaultSpec:
    """Read a fault from its words: the kind, and KEY=VALUE for the rest. Errors: ValueError."""
    kind, *rest = words
    found: dict[str, Any] = {}
    for word in rest:
        key, equals, text = word.partition("=")
        if not equals or key not in READERS:
            raise ValueError(f"{word!r}: write KEY=VALUE with one of {', '.join(READERS)}")
        field, read = READERS[key]
        if field in found:
            raise ValueError(f"{key} is there twice")
        try:
            found[field] = read(text)
        except ValueError as error:
            raise ValueError(f"{key}: {error}") from None
    return FaultSpec(kind, **found)


def parse_fault(text: str) -> FaultSpec:
    """Read a fault from its text. Errors: ValueError."""
    if len(text) > TEXT_MAX:
        raise ValueError(f"a fault has at most {TEXT_MAX} characters")
    return parse_words(re.split(r"\s+", text.strip()))


def check_kind(spec: FaultSpec, kinds: Collection[str], name: str) -> None:
    """Refuse a fault that a device can't have, whose `kinds` these are. Errors: ValueError."""
    if spec.kind not in kinds:
        can = ", ".join(sorted(kinds)) or "none"
        raise ValueError(f"{name} can't have the fault {spec.kind}: it can have {can}")
