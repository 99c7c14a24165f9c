"""What a service says that it measures, on its way to whoever gathers it.

The answer of a device is not to be trusted: it is checked whole before any of it is used. A device
that answers garbage, control characters, more than the limits, or in the name of another is
refused, and of its answer nothing is taken.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from virtmesh.scraping import families as text
from virtmesh.scraping.families import Family, spell_series
from virtmesh_common.api.metrics.v1 import metrics_pb2 as pb
from virtmesh_common.printable import printable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

BYTES_MAX, FAMILIES_MAX, SERIES_MAX = 512 << 10, 512, 16384
"""Limits of one answer (metrics.proto)."""
LABELS_MAX = 16
NAME_MAX, SPELLING_MAX, MEANING_MAX = 128, 1024, 1024
"""Longest name of a metric, spelling of a series, and meaning, in characters."""
OWN_LABELS = frozenset(("device", "machine", "instance", "job"))
"""Labels that say whose a series is: whoever gathers knows that, and sets them."""
RESERVED = ("virtmesh_kernel_", "virtmesh_cpu_", "virtmesh_machine_")
"""Begin the names of what whoever drives the devices says of them."""
TYPES: Mapping[int, str] = {
    pb.TYPE_UNSPECIFIED: text.UNTYPED,
    pb.TYPE_COUNTER: text.COUNTER,
    pb.TYPE_GAUGE: text.GAUGE,
    pb.TYPE_HISTOGRAM: text.HISTOGRAM,
    pb.TYPE_SUMMARY: text.SUMMARY,
}
NUMBERS = {name: number for number, name in TYPES.items()}
NAME = re.compile(rf"[a-zA-Z_:][a-zA-Z0-9_:]{{0,{NAME_MAX - 1}}}")
SERIES = re.compile(rf"({NAME.pattern})(?:\{{(.*)\}})?", re.DOTALL)
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]{0,63})="((?:[^"\\\n]|\\[\\"n])*)"(?:,|$)')
ESCAPED = re.compile(r"\\(.)")


def encode_answer(families: Iterable[Family]) -> pb.CollectResponse:
    """Return families as an answer."""
    return pb.CollectResponse(
        families=[
            pb.Family(
                name=one.name,
                type=NUMBERS[one.type],  # type: ignore[arg-type]  # a number of the enum
                meaning=one.meaning,
                series=one.series,
                values=one.values,
            )
            for one in families
        ]
    )


class AnswerReader:
    """Reads the answers of one service, and adds `labels` to each series.

    What a series is called is checked and spelled once: most are the same in each answer.
    """

    def __init__(self, labels: Mapping[str, str]) -> None:
        self._labels = dict(labels)
        self._known: dict[tuple[str, str], str] = {}
        """Spelling on the page, by the type of the family and its spelling there."""

    def read(self, answer: bytes) -> list[Family]:
        """Return the families of an answer.

        Errors: ValueError, with the reason, for an answer that is refused.
        """
        message = _parse(answer)
        known: dict[tuple[str, str], str] = {}
        seen: set[str] = set()
        found = []
        for family in message.families:
            check_name(family.name, seen)
            kind = TYPES.get(family.type, text.UNTYPED)
            names = {family.name + part for part in text.PARTS[kind]}
            series = []
            for spelled in family.series:
                key = kind + family.name, spelled
                if key in known:
                    raise ValueError(f"{family.name} has a series twice")
                known[key] = self._known.get(key) or self._spell(spelled, names)
                series.append(known[key])
            meaning = printable(family.meaning[:MEANING_MAX])
            found.append(Family(family.name, kind, meaning, series, list(family.values)))
        self._known = known
        return found

    def _spell(self, spelled: str, names: Collection[str]) -> str:
        """Return the spelling of a series with the labels of its service. Errors: ValueError."""
        name, labels = parse_series(spelled)
        if name not in names:
            raise ValueError(f"{name} is not of the family that it stands in")
        return spell_series(name, self._labels | labels)


def _parse(answer: bytes) -> pb.CollectResponse:
    """Parse an answer within the limits. Errors: ValueError."""
    if len(answer) > BYTES_MAX:
        raise ValueError(f"{len(answer)} bytes are more than {BYTES_MAX}")
    try:
        message = pb.CollectResponse.FromString(answer)
    except DecodeError:
        raise ValueError("it is no CollectResponse") from None
    if len(message.families) > FAMILIES_MAX:
        raise ValueError(f"{len(message.families)} families are more than {FAMILIES_MAX}")
    if any(len(one.series) != len(one.values) for one in message.families):
        raise ValueError("a family has not as many values as series")
    if sum(len(one.values) for one in message.families) > SERIES_MAX:
        raise ValueError(f"it has more than {SERIES_MAX} values")
    return message


def check_name(name: str, seen: set[str]) -> None:
    """Check the name of a family, and note it. Errors: ValueError."""
    if not NAME.fullmatch(name):
        raise ValueError(f"{name[:NAME_MAX]!r} is no name of a metric")
    if name.startswith(RESERVED):
        raise ValueError(f"{name} is not a device's to say")
    if name in seen:
        raise ValueError(f"{name} is there twice")
    seen.add(name)


def parse_series(spelled: str) -> tuple[str, dict[str, str]]:
    """Return the name and the labels of a series. Errors: ValueError."""
    if len(spelled) > SPELLING_MAX or not spelled.isprintable():
        raise ValueError("a series is too long, or has control characters")
    whole = SERIES.fullmatch(spelled)
    if whole is None:
        raise ValueError(f"{spelled!r} is no series")
    labels: dict[str, str] = {}
    rest, at = whole[2] or "", 0
    while at < len(rest):
        label = LABEL.match(rest, at)
        if label is None or label[1] in labels or len(labels) == LABELS_MAX:
            raise ValueError(f"{spelled!r} has no labels that are some")
        if label[1] in OWN_LABELS or label[1].startswith("__"):
            raise ValueError(f"{spelled!r}: the label {label[1]} is not a device's to say")
        labels[label[1]] = ESCAPED.sub(_unescape, label[2])
        at = label.end()
    return whole[1], labels


def _unescape(escape: re.Match[str]) -> str:
    """Return the character that an escape stands for."""
    return "\n" if escape[1] == "n" else escape[1]
