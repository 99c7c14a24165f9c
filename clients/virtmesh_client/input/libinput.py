"""Read the recordings of `libinput record` (freedesktop.org): YAML, with one fact in each line.

    devices:
    - node: /dev/input/event4
      evdev:
        name: "name of the device"
        id: [bus, vendor, product, version]
        codes:
          3: [0, 1, 47]                         EV_ABS: its codes
        absinfo:
          0: [minimum, maximum, fuzz, flat, resolution]
        properties: [0, 2]
      events:
      - evdev:
        - [seconds, microseconds, type, code, value]

One program writes such files, and always in this form, so they are read line by line. What else
they have (hid, udev, quirks, events of libinput itself) is passed over. What a line says is told by
its form and its key, not by its indentation: files that people paste have lost that.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from virtmesh_client.input.evemu import EvemuDescription
from virtmesh_client.input.models import Axis
from virtmesh_client.input.recording import LINE_MAX, Recording, RecordingBuilder, line_error
from virtmesh_common.input.events import Event

if TYPE_CHECKING:
    from collections.abc import Iterable

BEGINNING = re.compile(r"\s*(# libinput record|(version|ndevices|libinput|devices):)")
"""The first line of such a file."""
NODE = re.compile(r"- node:\s*(\S+)")
KEY = re.compile(r"([a-z]+):\s*(.*)")
NAME = re.compile(r'name:\s*"?(.*?)"?')
ROW = re.compile(r"(\d{1,5}):\s*\[([-\d,\s]*)\]")
LIST = re.compile(r"([a-z]+):\s*\[([-\d,\s]*)\]")
EVENT = re.compile(r"-\s*\[([-\d,\s]*)\]")
EVENT_NUMBERS = 5
NUMBER_DIGITS = 12
"""Longest number, in characters: 32 bits and a sign fit."""


@dataclass
class LibinputDevice:
    """One device of a file, collected line by line."""

    node: str
    about: EvemuDescription = field(default_factory=EvemuDescription)
    recorded: RecordingBuilder = field(default_factory=lambda: RecordingBuilder(real=True))


def is_libinput(text: str) -> bool:
    """Say whether a text is a recording of `libinput record`."""
    return BEGINNING.match(text) is not None


def read_libinput(file: Iterable[str], node: str = "") -> Recording:
    """Read the recording of one device; `node` chooses it if there are several.

    Errors: BadRecording, with the line where there is one.
    """
    devices: list[LibinputDevice] = []
    section = ""
    for number, text in enumerate(file, start=1):
        if len(text) > LINE_MAX:
            raise line_error(number, f"the line is longer than {LINE_MAX} characters")
        line = text.strip()
        if found := NODE.match(line):
            devices.append(LibinputDevice(found[1]))
            section = ""
        elif devices:
            section = read_line(number, without_comment(line), section, devices[-1])
    chosen = choose(devices, node)
    return Recording(chosen.recorded.finish(), chosen.about.info(), dropped=chosen.recorded.dropped)


def choose(devices: list[LibinputDevice], node: str) -> LibinputDevice:
    """Return the device that is meant. Errors: BadRecording."""
    matching = [one for one in devices if node in {"", one.node}]
    if len(matching) == 1:
        return matching[0]
    nodes = ", ".join(f"{one.node} ({one.about.name})" for one in devices) or "no device at all"
    if not devices:
        raise line_error(1, "the file has no device: is it whole?")
    what = f"no {node}" if node and not matching else f"{len(matching)} devices"
    raise line_error(1, f"the file has {what}: choose one by its node; there are {nodes}")


def without_comment(line: str) -> str:
    """Return a line without its comment. A name may contain "#"."""
    return line if line.startswith("name:") else line.partition("#")[0].strip()


def read_line(number: int, line: str, section: str, device: LibinputDevice) -> str:
    """Read one line of a device; return the section that the next one belongs to."""
    about = device.about
    if (event := EVENT.fullmatch(line)) and section == "evdev":
        seconds, us, kind, code, value = numbers_of(number, event[1], EVENT_NUMBERS)
        device.recorded.add(number, seconds * 1_000_000 + us, Event(kind, code, value))
        return section
    if (row := ROW.fullmatch(line)) and section == "codes":
        about.codes.setdefault(int(row[1]), set()).update(numbers_of(number, row[2]))
        return section
    if (row := ROW.fullmatch(line)) and section == "absinfo":
        about.axes[int(row[1])] = Axis(*numbers_of(number, row[2], 5))
        return section
    if (found := LIST.fullmatch(line)) and found[1] == "id":
        bus, vendor, product, version = numbers_of(number, found[2], 4)
        about.ids = (bus, vendor, product, version)
    elif found and found[1] == "properties" and not about.properties:
        about.properties += numbers_of(number, found[2])
    elif line.startswith("name:") and not about.name:
        about.name = (NAME.fullmatch(line) or ["", ""])[1]
    elif header := KEY.fullmatch(line.removeprefix("- ")):
        return header[1]
    return section


def numbers_of(line: int, text: str, count: int | None = None) -> list[int]:
    """Return the numbers of a list. Errors: BadRecording."""
    words = [word.strip() for word in text.split(",") if word.strip()]
    if count is not None and len(words) != count:
        raise line_error(line, f"[{text[:60]}] must have {count} numbers")
    if any(len(word) > NUMBER_DIGITS for word in words):
        raise line_error(line, f"[{text[:60]}] has a number that is too long")
    try:
        return [int(word) for word in words]
    except ValueError:
        raise line_error(line, f"[{text[:60]}] is no list of numbers") from None
