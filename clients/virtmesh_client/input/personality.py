"""Write the personality of a recorded device: a file for the option `personality` of a device.

A device with that personality is like the one that was recorded, and takes the recording whole: it
has what the description says, and what was recorded beyond it. docs/machine.md has the format.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from virtmesh_client.input.evemu import guess_device
from virtmesh_client.input.models import SYSTEM_TYPES, Axis
from virtmesh_common.evdev import BUSES, PROPERTIES, TYPES, name_of, type_name
from virtmesh_common.input.errors import BadRecording
from virtmesh_common.input.events import EV_ABS, EV_SYN
from virtmesh_common.input.personality_file import LISTS
from virtmesh_common.input.spec import U_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from virtmesh_client.input.recording import Recording

CARRIED = {EV_SYN, EV_ABS, TYPES["EV_REP"], *(TYPES[name] for name in LISTS.values())}
"""Types that a personality can have."""
WIDTH = 96
"""Longest line of a list, in characters."""
BUS_NAMES = {number: name for name, number in BUSES.items()}
PROPERTY_NAMES = {number: name for name, number in PROPERTIES.items()}


def spell_personality(recording: Recording) -> str:
    """Return the text of a personality. Errors: BadRecording if nothing is known of the device."""
    described = recording.device
    codes, axes = collect(recording)
    if not codes:
        raise BadRecording("the recording has neither a description of its device nor an event")
    name = described.name if described else "virtmesh recording"
    lines = [f"name = {quote(name)}"]
    if described:
        bus, vendor, product, version = described.ids
        lines.append(
            f"ids = {{ bus = {spell(BUS_NAMES.get(bus), bus)}, vendor = {vendor:#06x},"
            f" product = {product:#06x}, version = {version:#06x} }}"
        )
        names = [spell(PROPERTY_NAMES.get(one), one) for one in sorted(described.properties)]
        lines += spell_list("properties", names)
    for key, kind in LISTS.items():
        number = TYPES[kind]
        lines += spell_list(
            key, [spell_code(number, code) for code in sorted(codes.get(number, ()))]
        )
    if TYPES["EV_REP"] in codes:
        lines.append("repeat = true")
    lines += [
        f"# {type_name(kind)} can't be given to a device: left out"
        for kind in sorted(set(codes) - CARRIED)
    ]
    for code in sorted(codes.get(EV_ABS, ())):
        lines += spell_axis(code, axes.get(code, Axis(0, 0)))
    return "\n".join(lines) + "\n"


def collect(recording: Recording) -> tuple[dict[int, set[int]], dict[int, Axis]]:
    """Return the codes and the axes of a device: those described, and those recorded beyond."""
    codes: dict[int, set[int]] = {}
    axes: dict[int, Axis] = {}
    guessed = guess_device(recording)
    for info in filter(None, (recording.device, guessed)):
        for kind, some in info.capabilities.items():
            if kind in SYSTEM_TYPES and info is guessed:
                continue  # a light that the system turned on is described, or the device has none
            codes.setdefault(kind, set()).update(some)
        axes = info.axes | axes
    if recording.device:
        codes.setdefault(EV_ABS, set()).update(recording.device.axes)
    return {kind: some for kind, some in codes.items() if some}, axes


def spell_axis(code: int, axis: Axis) -> Iterator[str]:
    """Yield the lines of one axis."""
    yield ""
    yield f"[absolute.{name_of(EV_ABS, code)}]"
    yield f"minimum = {axis.minimum}"
    yield f"maximum = {axis.maximum}"
    for part in ("fuzz", "flat", "resolution"):
        if value := getattr(axis, part):
            yield f"{part} = {value}"


def spell_code(kind: int, code: int) -> str:
    """Return a code as an entry of a list: its name, or its number if it has none."""
    name = name_of(kind, code)
    return spell(name if name[0].isalpha() else None, code)


def spell(name: str | None, number: int) -> str:
    """Return a name in quotes, or the number if there is none."""
    return f'"{name}"' if name else f"{number:#x}"


def spell_list(key: str, entries: Iterable[str]) -> Iterator[str]:
    """Yield the lines of a list, each as long as it may be; none for an empty one."""
    entries = list(entries)
    one_line = f"{key} = [{', '.join(entries)}]"
    if not entries or len(one_line) <= WIDTH:
        yield from [one_line] * bool(entries)
        return
    yield f"{key} = ["
    line = "   "
    for entry in entries:
        if len(line) + len(entry) + 2 > WIDTH:
            yield line
            line = "   "
        line += f" {entry},"
    yield line
    yield "]"


def quote(name: str) -> str:
    """Return a name as a string of TOML: what can't be shown is a "?", what is too long is cut."""
    shown = "".join(one if one.isprintable() else "?" for one in name).encode()[:U_SIZE]
    return json.dumps(shown.decode(errors="ignore"), ensure_ascii=False)
