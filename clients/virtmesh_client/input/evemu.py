"""Read and write the text format of evemu (freedesktop.org): a device and its events.

This module writes version 1.3, as evemu 2.7 does, and reads versions 1.0 to 1.3. Each line states
one fact. Numbers marked hexadecimal have no 0x. `#` begins a comment:

    # EVEMU 1.3
    N: name of the device
    I: bus vendor product version       hexadecimal
    P: 8 bytes                          hexadecimal; bit mask of properties, 64 a line
    B: type 8 bytes                     hexadecimal; bit mask of codes, 64 a line; 00 has the types
    A: code min max fuzz flat [res]     the code in hexadecimal; the resolution since 1.2
    L: code state                       state of an LED, since 1.3; S: state of a switch
    E: seconds.microseconds type code value    type and code in hexadecimal
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TextIO

from virtmesh_client.input.models import Axis, InputInfo
from virtmesh_client.input.recording import LINE_MAX, Recording, RecordingBuilder, line_error
from virtmesh_common.evdev import CODES, TYPES
from virtmesh_common.input.events import EV_ABS, EV_SYN, Event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

VERSION = (1, 3)
BITS_A_LINE = 64
EV_REP = TYPES["EV_REP"]
TYPE_BITS = 0
"""Index of the `B:` lines that hold the event types. It is the number of EV_SYN."""
NUMBER = r"-?[0-9]{1,10}"
HEX = r"[0-9a-fA-F]"


def pattern(text: str) -> re.Pattern[str]:
    """Compile the pattern of a line: {byte}, {hex} and {int} match numbers, a space any spaces."""
    text = text.replace("{byte}", f"({HEX}{{1,2}})").replace("{hex}", f"({HEX}{{1,8}})")
    return re.compile(text.replace("{int}", f"({NUMBER})").replace(" ", r"\s+"))


BYTES = " {byte}" * 8
IDS = pattern("{hex} {hex} {hex} {hex}")
PROPERTY_BITS = pattern(BYTES.strip())
CODE_BITS = pattern("{hex}" + BYTES)
AXIS = pattern("{hex} {int} {int} {int} {int}(?: {int})?")
STATE = pattern("{hex} {int}")
BEGINNING = re.compile(r"\s*(# EVEMU|[NIPBALSE]:)")
"""The first line that belongs to a recording."""
EVENT = pattern(r"([0-9]{1,10})\.([0-9]{1,6}) {hex} {hex} {int}")


@dataclass
class EvemuDescription:
    """The device that a file describes, collected line by line."""

    name: str = ""
    ids: tuple[int, int, int, int] = (0, 0, 0, 0)
    properties: list[int] = field(default_factory=list)
    property_lines: int = 0
    codes: dict[int, set[int]] = field(default_factory=dict)
    code_lines: dict[int, int] = field(default_factory=dict)
    axes: dict[int, Axis] = field(default_factory=dict)
    leds_on: list[int] = field(default_factory=list)

    def info(self) -> InputInfo | None:
        """Return the device; None if the file describes none."""
        if not self.name and not self.codes:
            return None
        capabilities = {
            kind: frozenset(codes) for kind, codes in self.codes.items() if kind != EV_SYN and codes
        }
        if EV_REP in self.codes.get(TYPE_BITS, ()):
            capabilities.setdefault(EV_REP, frozenset(CODES["EV_REP"].values()))
        return InputInfo(
            name=self.name,
            serial="",
            ids=self.ids,
            personality="",
            properties=tuple(self.properties),
            capabilities=capabilities,
            axes=self.axes,
            leds_on=tuple(self.leds_on),
        )


def read_evemu(file: Iterable[str]) -> Recording:
    """Read a file with a device, events, or both. Errors: BadRecording with the line number."""
    about = EvemuDescription()
    begun = False
    reader = RecordingBuilder(real=True)
    for number, text in enumerate(file, start=1):
        if len(text) > LINE_MAX:
            raise line_error(number, f"the line is longer than {LINE_MAX} characters")
        if not begun and not BEGINNING.match(text):
            continue  # what evemu asked on the terminal, in a file that has all that it printed
        begun = True
        tag, content = split_line(number, text)
        if tag == "E":
            reader.add(number, *parse_event(number, content))
        elif tag:
            PARSERS[tag](number, content, about)
    events = reader.finish()
    device = about.info()
    if device is None and not events:
        raise line_error(1, "the file has neither a device nor an event: is it an evemu file?")
    return Recording(events, device, dropped=reader.dropped)


def split_line(line: int, text: str) -> tuple[str, str]:
    """Return the tag and the content of a line, empty for a comment. Errors: BadRecording."""
    text = text.strip()
    if not text or text.startswith("#"):
        return "", ""
    tag, colon, content = text.partition(":")
    if not colon or (tag != "E" and tag not in PARSERS):
        raise line_error(
            line, f"{text[:20]!r} does not begin with N:, I:, P:, B:, A:, L:, S: or E:"
        )
    if tag != "N":
        # Only a name may contain "#"; on other lines it begins a comment.
        content = content.partition("#")[0]
    return tag, content.strip()


def match_line(line: int, form: re.Pattern[str], content: str, what: str) -> list[str]:
    """Match a line; return its groups, "0" for a missing one. Errors: BadRecording."""
    found = form.fullmatch(content)
    if found is None:
        raise line_error(line, f"{content[:60]!r} must have the form {what}")
    return [group or "0" for group in found.groups()]


def parse_event(line: int, content: str) -> tuple[int, Event]:
    """Read the content of an `E:` line: microseconds and the event. Errors: BadRecording."""
    what = "SECONDS.MICROSECONDS TYPE CODE VALUE"
    seconds, us, kind, code, value = match_line(line, EVENT, content, what)
    # evemu reads the digits after the point as a count of microseconds, not as a fraction.
    return int(seconds) * 1_000_000 + int(us), Event(int(kind, 16), int(code, 16), int(value))


def parse_name(_line: int, content: str, about: EvemuDescription) -> None:
    """Read an `N:` line."""
    about.name = content


def parse_ids(line: int, content: str, about: EvemuDescription) -> None:
    """Read an `I:` line. Errors: BadRecording."""
    bus, vendor, product, version = (
        int(number, 16) for number in match_line(line, IDS, content, "BUS VENDOR PRODUCT VERSION")
    )
    about.ids = (bus, vendor, product, version)


def parse_properties(line: int, content: str, about: EvemuDescription) -> None:
    """Read a `P:` line. Errors: BadRecording."""
    numbers = match_line(line, PROPERTY_BITS, content, "BYTE BYTE ... (8 bytes)")
    about.properties += set_bits(numbers, about.property_lines)
    about.property_lines += 1


def parse_codes(line: int, content: str, about: EvemuDescription) -> None:
    """Read a `B:` line. Errors: BadRecording."""
    index, *numbers = match_line(line, CODE_BITS, content, "TYPE BYTE BYTE ... (8 bytes)")
    kind = int(index, 16)
    if kind not in TYPES.values():
        raise line_error(line, f"{kind:#x} is not an event type (linux/input-event-codes.h)")
    before = about.code_lines.get(kind, 0)
    about.code_lines[kind] = before + 1
    about.codes.setdefault(kind, set()).update(set_bits(numbers, before))


def parse_axis(line: int, content: str, about: EvemuDescription) -> None:
    """Read an `A:` line. Errors: BadRecording."""
    code, *numbers = match_line(line, AXIS, content, "CODE MIN MAX FUZZ FLAT RESOLUTION")
    about.axes[int(code, 16)] = Axis(*map(int, numbers))


def parse_led(line: int, content: str, about: EvemuDescription) -> None:
    """Read an `L:` line. Errors: BadRecording."""
    code, state = match_line(line, STATE, content, "CODE STATE")
    if int(state):
        about.leds_on.append(int(code, 16))


def parse_switch(line: int, content: str, _about: EvemuDescription) -> None:
    """Check an `S:` line. The state of switches is not used. Errors: BadRecording."""
    match_line(line, STATE, content, "CODE STATE")


PARSERS: dict[str, Callable[[int, str, EvemuDescription], None]] = {
    "N": parse_name,
    "I": parse_ids,
    "P": parse_properties,
    "B": parse_codes,
    "A": parse_axis,
    "L": parse_led,
    "S": parse_switch,
}


def set_bits(numbers: Iterable[str], before: int) -> list[int]:
    """Return the numbers of the bits that are set. `before` is how many lines came before."""
    word = int.from_bytes(bytes(int(number, 16) for number in numbers), "little")
    return [before * BITS_A_LINE + bit for bit in range(BITS_A_LINE) if word >> bit & 1]


def write_evemu(recording: Recording, file: TextIO) -> None:
    """Write a recording. If it has no device, one is derived from its events. Errors: OSError."""
    info = recording.device or guess_device(recording)
    file.writelines(f"{line}\n" for line in (*describe(info), *spell_events(recording)))


def describe(info: InputInfo) -> Iterator[str]:
    """Yield the lines that describe a device."""
    yield "# EVEMU {}.{}".format(*VERSION)
    yield f"N: {' '.join(info.name.split()) or 'virtmesh'}"
    yield "I: {:04x} {:04x} {:04x} {:04x}".format(*info.ids)
    for line in spell_bits(info.properties, BITS_A_LINE):
        yield f"P: {line}"
    types = {EV_SYN, *info.capabilities}
    for name, kind in TYPES.items():
        if name not in CODES and kind not in info.capabilities:
            continue  # EV_MAX, and types without codes
        codes = types if kind == TYPE_BITS else info.capabilities.get(kind, frozenset())
        size = max(CODES.get(name, {"": 0}).values()) + 1
        for line in spell_bits(codes, size):
            yield f"B: {kind:02x} {line}"
    for code, axis in sorted(info.axes.items()):
        numbers = (axis.minimum, axis.maximum, axis.fuzz, axis.flat, axis.resolution)
        yield f"A: {code:02x} {' '.join(map(str, numbers))}"
    for code in info.leds_on:
        yield f"L: {code:02x} 1"


def spell_bits(numbers: Iterable[int], size: int) -> Iterator[str]:
    """Yield a bit mask as lines of 64 bits, at least `size` bits in total."""
    numbers = set(numbers)
    lines = -(-max(size, max(numbers, default=0) + 1) // BITS_A_LINE)
    word = sum(1 << number for number in numbers)
    for number in range(lines):
        part = word >> number * BITS_A_LINE & (1 << BITS_A_LINE) - 1
        yield part.to_bytes(BITS_A_LINE // 8, "little").hex(" ")


def spell_events(recording: Recording) -> Iterator[str]:
    """Yield a line for each event, with a comment that names it."""
    for timed in recording.events:
        event = timed.event
        seconds, us = divmod(timed.us, 1_000_000)
        if event.is_report:
            comment = "------------ SYN_REPORT (0) ----------"
        else:
            comment = f"{event.type_name} / {event.code_name:<20} {event.value}"
        numbers = f"{event.type:04x} {event.code:04x} {event.value:04d}"
        yield f"E: {seconds}.{us:06} {numbers}\t# {comment}"


def guess_device(recording: Recording) -> InputInfo:
    """Return a device that has all the codes and axis values of a recording."""
    capabilities: dict[int, set[int]] = {}
    axes: dict[int, Axis] = {}
    for timed in recording.events:
        event = timed.event
        if event.type == EV_SYN:
            continue
        capabilities.setdefault(event.type, set()).add(event.code)
        if event.type == EV_ABS:
            old = axes.get(event.code, Axis(0, 1))
            low, high = min(old.minimum, event.value), max(old.maximum, event.value)
            axes[event.code] = Axis(low, high)
    return EvemuDescription(
        name="virtmesh recording", codes=capabilities, axes=axes
    ).info() or InputInfo("virtmesh recording", "", (0, 0, 0, 0), "", (), {}, {}, ())
