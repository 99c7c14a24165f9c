"""Personalities: what an input device has, as data (virtmesh/input/personalities/NAME.toml).

    name = "virtmesh keyboard"
    ids = { bus = "BUS_VIRTUAL", vendor = 0x4D56, product = 1, version = 1 }
    properties = ["INPUT_PROP_DIRECT"]
    keys = ["KEY_ESC..KEY_KPDOT", "KEY_F11"]      # EV_KEY; A..B is every key between the two
    relative = ["REL_X"]                          # EV_REL
    misc = ["MSC_SCAN"]                           # EV_MSC
    switches = ["SW_LID"]                         # EV_SW
    leds = ["LED_CAPSL"]                          # EV_LED: the driver sends them
    sounds = ["SND_BELL"]                         # EV_SND: the driver sends them
    repeat = true                                 # EV_REP: the driver repeats keys
    [absolute.ABS_X]                              # EV_ABS
    minimum = 0
    maximum = 32767
    fuzz = 0                                      # these three are 0 when they are missing
    flat = 0
    resolution = 10

Every name is one of virtmesh_common.evdev, which has them from the kernel's own headers. A code
without a name is given by its number: 0x2fe in a list, [absolute.0x3e] as a table. An axis whose
maximum is not above its minimum has no range. `virtmesh input convert` makes such a file of a
recording.
"""

from __future__ import annotations

import struct
import tomllib
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from virtmesh_common.evdev import BUSES, CODES, PROPERTIES, TYPES
from virtmesh_common.input.personality_file import LISTS
from virtmesh_common.input.release import ABS_MT_SLOT
from virtmesh_common.input.spec import ABSINFO, DEVIDS, U_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

EV_KEY, EV_ABS, EV_REP = TYPES["EV_KEY"], TYPES["EV_ABS"], TYPES["EV_REP"]
TABLES = ("name", "ids", "properties", "repeat", "absolute", *LISTS)
IDS = ("bus", "vendor", "product", "version")
SUFFIX = ".toml"
CODES_MAX = 8 * U_SIZE - 1
"""Largest code that the bitmap `u` has a bit for."""
AXIS_MAX = 0x3F
"""Largest number of an axis (ABS_MAX)."""
SLOTS_MAX = 1024
"""Most slots of a touch device: as many as Linux takes."""


@dataclass(frozen=True)
class AbsRange:
    """The range of an axis: struct virtio_input_absinfo.

    If the maximum is not above the minimum, the device states no range.
    """

    minimum: int
    maximum: int
    fuzz: int = 0
    flat: int = 0
    resolution: int = 0


@dataclass(frozen=True)
class Personality:
    """What an input device has, as numbers in ascending order."""

    kind: str
    """Name of the personality, such as "keyboard"."""
    name: str
    ids: tuple[int, int, int, int]
    """Bus type, vendor, product, version."""
    properties: tuple[int, ...]
    codes: Mapping[int, tuple[int, ...]]
    """Codes by EV_* type; EV_SYN, which every device sends, is not among them."""
    axes: Mapping[int, AbsRange]
    """By ABS_* code."""


def built_in() -> list[str]:
    """Name the personalities that come with the package."""
    folder = files("virtmesh.input") / "personalities"
    return sorted(
        entry.name.removesuffix(SUFFIX) for entry in folder.iterdir() if entry.name.endswith(SUFFIX)
    )


def load(which: str) -> Personality:
    """Load a built-in personality by name, or a file by its path, which ends in ".toml".

    Errors: ValueError; its message says what to change.
    """
    if which.endswith(SUFFIX):
        path = Path(which)
        kind = path.stem
        try:
            text = path.read_text(encoding="utf-8-sig")  # some editors write a byte order mark
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"{which} can't be read: {error}") from error
    elif which in built_in():
        kind = which
        entry = files("virtmesh.input") / "personalities" / f"{which}{SUFFIX}"
        text = entry.read_text(encoding="utf-8")
    else:
        known = ", ".join(built_in())
        raise ValueError(
            f"there is no personality {which!r}: choose {known}, or the path of a .toml file"
        )
    try:
        return parse(kind, tomllib.loads(text))
    except (ValueError, RecursionError) as error:  # TOMLDecodeError among them
        raise ValueError(f"personality {which}: {error}") from error


def parse(kind: str, document: Mapping[str, Any]) -> Personality:
    """Check a personality. Errors: ValueError; its message names the key and what to change."""
    for key in document:
        if key not in TABLES:
            raise ValueError(f"there is no key {key}: {_suggest(key, TABLES)}")
    codes = {}
    for key, type_name in LISTS.items():
        numbers = _expand(key, _entries(document, key), CODES[type_name])
        if numbers:
            codes[TYPES[type_name]] = numbers
    axes = _axes(document.get("absolute", {}))
    if axes:
        codes[EV_ABS] = tuple(axes)
    repeat = document.get("repeat", False)
    if not isinstance(repeat, bool):
        raise ValueError(f"repeat is {repeat!r}: write true or false")  # noqa: TRY004 - one error for a bad file
    if repeat:
        codes[EV_REP] = tuple(sorted(CODES["EV_REP"].values()))
    if not codes:
        raise ValueError(f"it has no events: add one of {', '.join((*LISTS, 'absolute'))}")
    return Personality(
        kind=kind,
        name=check_text("name", document.get("name")),
        ids=_ids(document.get("ids", {})),
        properties=_expand("properties", _entries(document, "properties"), PROPERTIES),
        codes=dict(sorted(codes.items())),
        axes=axes,
    )


def check_text(key: str, text: object) -> str:
    """Return a name or serial that `u` can hold. Errors: ValueError."""
    if not isinstance(text, str) or not text.isprintable() or len(text.encode()) > U_SIZE:
        raise ValueError(f"{key} is {text!r:.200}: it must be printable, at most {U_SIZE} bytes")
    return text


def _entries(document: Mapping[str, Any], key: str) -> list[str | int]:
    """Return a list of names and numbers. Errors: ValueError."""
    found = document.get(key, [])
    if not isinstance(found, list) or not all(type(one) in {str, int} for one in found):
        raise ValueError(f"{key} is {found!r:.200}: it must be a list of names and numbers")
    return found


def _expand(key: str, entries: Iterable[str | int], known: Mapping[str, int]) -> tuple[int, ...]:
    """Return the numbers of names, of ranges of names, and of numbers. Errors: ValueError."""
    named = set(known.values())
    numbers: set[int] = set()
    for entry in entries:
        if isinstance(entry, int):
            numbers.add(_check_number(key, entry, CODES_MAX))
            continue
        first, dots, last = entry.partition("..")
        start = _number(key, first, known)
        end = _number(key, last, known) if dots else start
        if end < start:
            raise ValueError(f"{key}: {entry} is empty: {last} comes before {first}")
        numbers.update(named.intersection(range(start, end + 1)))
    return tuple(sorted(numbers))


def _check_number(key: str, number: int, most: int) -> int:
    """Return a number that `u` has a bit for. Errors: ValueError."""
    if not 0 <= number <= most:
        raise ValueError(f"{key}: {number} is not from 0 to {most}")
    return number


def _number(key: str, name: str, known: Mapping[str, int]) -> int:
    """Return the number of a name. Errors: ValueError, with the nearest names."""
    if name not in known:
        raise ValueError(f"{key}: there is no {name!r}: {_suggest(name, known)}")
    return known[name]


def _axes(tables: object) -> dict[int, AbsRange]:
    """Return the axes. Errors: ValueError."""
    if not isinstance(tables, dict):
        raise ValueError("absolute must be tables: write [absolute.ABS_X]")  # noqa: TRY004 - as above
    axes = {}
    for name, table in tables.items():
        code = _axis_number(name)
        try:
            axes[code] = AbsRange(**table)
            ABSINFO.pack(*(vars(axes[code]).values()))
        except (TypeError, ValueError, OverflowError, struct.error) as error:
            raise ValueError(
                f"absolute.{name} must have minimum and maximum, may have fuzz, flat and"
                " resolution, all 32-bit numbers"
            ) from error
    slots = axes.get(ABS_MT_SLOT, AbsRange(0, 0))
    if not 0 <= slots.minimum <= slots.maximum < SLOTS_MAX:
        raise ValueError(
            f"absolute.ABS_MT_SLOT is from {slots.minimum} to {slots.maximum}: slots are from 0 to"
            f" at most {SLOTS_MAX - 1}"
        )
    return dict(sorted(axes.items()))


def _axis_number(name: str) -> int:
    """Return the number of an axis, given by name or number. Errors: ValueError."""
    if not name[:1].isdigit():
        return _number("absolute", name, CODES["EV_ABS"])
    try:
        return _check_number("absolute", int(name, 0), AXIS_MAX)
    except ValueError:
        raise ValueError(f"absolute: {name:.40} is no number from 0 to {AXIS_MAX}") from None


def _ids(table: object) -> tuple[int, int, int, int]:
    """Return the IDs; those that are missing are 0. Errors: ValueError."""
    if not isinstance(table, dict) or not set(table) <= set(IDS):
        raise ValueError(f"ids must be a table with {', '.join(IDS)}")
    bus = table.get("bus", "BUS_VIRTUAL")
    numbers = [table.get(key, 0) for key in IDS[1:]]
    ids = [_number("ids.bus", bus, BUSES) if isinstance(bus, str) else bus, *numbers]
    try:
        packed = DEVIDS.pack(*ids)
    except struct.error as error:
        raise ValueError("ids must be numbers of 16 bits, the bus one or a name") from error
    bustype, vendor, product, version = DEVIDS.unpack(packed)
    return bustype, vendor, product, version


def _suggest(name: str, known: Iterable[str]) -> str:
    """Return names that are near, as a question."""
    near = get_close_matches(name, list(known), n=3)
    return f"did you mean {' or '.join(near)}?" if near else "see virtmesh_common.evdev for names"
