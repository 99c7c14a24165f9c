"""Recordings: the events that a driver received, with their times, as a file of JSON lines.

People can read and edit the file. The first line describes the device; each other line is an event:

    {"virtmesh": "input recording", "version": 1, "device": {"name": "virtmesh keyboard", ...}}
    {"us": 0, "type": "EV_KEY", "code": "KEY_A", "value": 1}
    {"us": 0, "type": "EV_SYN", "code": "SYN_REPORT", "value": 0}

Times are in microseconds since the first event. A type or code without a name is a number. The last
event of a recording is a SYN_REPORT, since it consists of whole packets.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TextIO

from virtmesh_client.input.models import Axis, InputInfo
from virtmesh_client.json_lines import parse_object
from virtmesh_common.evdev import CODES, PROPERTIES, TYPES, name_of, type_name
from virtmesh_common.input.errors import BadEvent, BadRecording
from virtmesh_common.input.events import EV_ABS, EV_SYN, REPORT, Event

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from virtmesh_client.input.models import Received
    from virtmesh_common.input.events import Packet
    from virtmesh_common.input.script import Script

MAGIC, VERSION = "input recording", 1
NUMBER_MAX = 0xFFFF
"""Types and codes have 16 bits, values are signed and have 32 (virtio 1.4, 5.8.6)."""
VALUE_MIN, VALUE_MAX = -(1 << 31), (1 << 31) - 1
TIME_MAX_US = 1 << 53
"""About 285 years. Every JSON reader can represent it exactly."""
LINE_MAX = 1 << 20
"""Longest line that is accepted, in characters."""
SYN_DROPPED = CODES["EV_SYN"]["SYN_DROPPED"]

PROPERTY_NAMES = {number: name for name, number in PROPERTIES.items()}
AXIS_FIELDS = ("minimum", "maximum", "fuzz", "flat", "resolution")


@dataclass(frozen=True)
class TimedEvent:
    """One event of a recording; `us` is its time in microseconds since the first event."""

    us: int
    event: Event


@dataclass(frozen=True)
class Recording:
    """Recorded events, and the description of the device that sent them.

    Example:
        with virtmesh_client.connect() as machine, machine.input("keyboard") as keyboard:
            with keyboard.watch() as watch:
                keyboard.key("a")
                assert [str(next(watch).event) for _ in range(2)] == ["KEY_A 1", "SYN_REPORT 0"]
    """

    events: tuple[TimedEvent, ...] = ()
    device: InputInfo | None = None
    skipped: tuple[str, ...] = field(default=(), compare=False)
    """Names of the events that were left out when the recording was fitted to a device."""
    dropped: int = field(default=0, compare=False)
    """How often the recorder says that it lost events (SYN_DROPPED)."""

    @property
    def duration(self) -> float:
        """Time from the first event to the last, in seconds."""
        return self.events[-1].us / 1e6 if self.events else 0.0

    def packets(self) -> Iterator[tuple[int, Packet]]:
        """Yield the packets, each with the time of its SYN_REPORT in microseconds."""
        events: list[Event] = []
        for timed in self.events:
            if timed.event != REPORT:
                events.append(timed.event)
            if timed.event.is_report:
                yield timed.us, tuple(events)
                events = []

    def script(self, speed: float) -> Script:
        """Return the packets with their times, divided by `speed`. Speed 0 makes no pauses.

        Errors: BadEvent if the speed is negative or not finite.
        """
        if not 0 <= speed < float("inf"):
            raise BadEvent(
                f"a speed of {speed:g} is not possible: choose 1 for the original speed, or 0 for"
                " as fast as possible"
            )
        scale = 1 / (speed * 1e6) if speed else 0.0
        return [(us * scale, events) for us, events in self.packets()]


def record(received: Iterable[Received], device: InputInfo | None) -> Recording:
    """Make a recording of received events. An incomplete packet at the end is left out.

    Where events may be missing (SYN_DROPPED), `dropped` counts.
    """
    builder = RecordingBuilder(real=True)
    for number, one in enumerate(received):
        builder.add(number, one.time_us, one.event)
    return Recording(builder.finish(), device, dropped=builder.dropped)


def write_recording(recording: Recording, file: TextIO) -> None:
    """Write a recording as JSON lines. Errors: OSError."""
    header: dict[str, Any] = {"virtmesh": MAGIC, "version": VERSION}
    if recording.device is not None:
        header["device"] = spell_device(recording.device)
    file.write(json.dumps(header, ensure_ascii=False) + "\n")
    for timed in recording.events:
        event = timed.event
        line = {
            "us": timed.us,
            "type": spell(event.type_name, event.type),
            "code": spell(event.code_name, event.code),
            "value": event.value,
        }
        file.write(json.dumps(line) + "\n")


def read_recording(file: Iterable[str]) -> Recording:
    """Read a recording from JSON lines. Errors: BadRecording with the line number."""
    device: InputInfo | None = None
    reader = RecordingBuilder()
    number = 0
    for number, text in enumerate(file, start=1):
        if len(text) > LINE_MAX:
            raise line_error(number, f"the line is longer than {LINE_MAX} characters")
        if number == 1:
            device = parse_header(text)
        elif text.strip():
            reader.add(number, *parse_event(number, text))
    if not number:
        raise line_error(1, "the file is empty")
    return Recording(reader.finish(), device)


class RecordingBuilder:
    """Collects the events of a file, and checks their values, their order and their packets.

    `real` says that the file comes from a real system, by evemu or libinput. Such files have clocks
    that were set back, lost events, and a last packet that was cut off. A clock that goes back is
    taken to stand still. Where events were lost (SYN_DROPPED), those up to the next SYN_REPORT are
    left out, as receivers do, and `dropped` counts. A packet without an end is left out.
    """

    def __init__(self, *, real: bool = False) -> None:
        self.dropped = 0
        self._real = real
        self._events: list[TimedEvent] = []
        self._last_line = 0
        self._start: int | None = None
        self._dropping = False

    def add(self, line: int, us: int, event: Event) -> None:
        """Add the next event; `us` is its time in the file. Errors: BadRecording."""
        if not (0 <= event.type <= NUMBER_MAX and 0 <= event.code <= NUMBER_MAX):
            numbers = f"type {event.type}, code {event.code}"
            raise line_error(line, f"{numbers}: both must be from 0 to {NUMBER_MAX}")
        if not VALUE_MIN <= event.value <= VALUE_MAX:
            raise line_error(line, f"the value {event.value} does not fit into 32 bits")
        if not 0 <= us <= TIME_MAX_US:
            raise line_error(line, f"a time of {us} us is not from 0 to {TIME_MAX_US}")
        if event.type == EV_SYN and event.code == SYN_DROPPED:
            self._drop(line)
        elif self._dropping:
            self._dropping = not event.is_report
        else:
            self._events.append(TimedEvent(self._time(line, us), event))
            self._last_line = line

    def _drop(self, line: int) -> None:
        """Leave out the packet in which events were lost. Errors: BadRecording."""
        if not self._real:
            raise line_error(
                line, "SYN_DROPPED: the recorder lost events here, so the recording is incomplete"
            )
        self.dropped += 1
        self._dropping = True
        self._cut()

    def _cut(self) -> None:
        """Leave out the events since the last SYN_REPORT."""
        while self._events and not self._events[-1].event.is_report:
            self._events.pop()

    def _time(self, line: int, us: int) -> int:
        """Return the time since the first event. Errors: BadRecording."""
        if self._start is None:
            self._start = us
        us -= self._start
        last = self._events[-1].us if self._events else 0
        if us < last and not self._real:
            raise line_error(
                line, f"the time {us} us is earlier than that of the event before, {last} us"
            )
        return max(us, last)

    def finish(self) -> tuple[TimedEvent, ...]:
        """Return the events. Errors: BadRecording when they end within a packet."""
        if self._real:
            self._cut()
        if self._events and not self._events[-1].event.is_report:
            raise line_error(
                self._last_line, "the last packet is incomplete: add a SYN_REPORT after this line"
            )
        return tuple(self._events)


def line_error(line: int, message: str) -> BadRecording:
    """Return an error whose message names the line."""
    return BadRecording(f"line {line}: {message}", line=line)


def parse_header(text: str) -> InputInfo | None:
    """Read the first line. Errors: BadRecording."""
    header = parse_object(1, text, line_error)
    if header.get("virtmesh") != MAGIC:
        raise line_error(
            1, f'this is not a recording: a recording begins with {{"virtmesh": "{MAGIC}", ...}}'
        )
    if header.get("version") != VERSION:
        raise line_error(
            1, f"version {header.get('version')!r} is not supported: only version {VERSION} is"
        )
    device = header.get("device")
    try:
        return parse_device(device) if device is not None else None
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise line_error(1, f"the description of the device is not valid: {error!r}") from None


def parse_event(line: int, text: str) -> tuple[int, Event]:
    """Parse the line of one event: microseconds and the event. Errors: BadRecording."""
    content = parse_object(line, text, line_error)
    extra = set(content) ^ {"us", "type", "code", "value"}
    if extra:
        raise line_error(
            line,
            "an event has exactly the fields us, type, code and value: look at"
            f" {', '.join(sorted(extra))}",
        )
    kind = number_of(line, content["type"], TYPES, "type")
    codes = CODES.get(type_name(kind), {})
    code = number_of(line, content["code"], codes, "code")
    numbers = [content["us"], content["value"]]
    if any(type(number) is not int for number in numbers):
        raise line_error(
            line, f"us and value must be whole numbers, not {numbers[0]!r} and {numbers[1]!r}"
        )
    return content["us"], Event(kind, code, content["value"])


def number_of(line: int, value: object, code_from: dict[str, int], what: str) -> int:
    """Return the number of a name; a number is returned unchanged. Errors: BadRecording."""
    if type(value) is int:
        return value
    if isinstance(value, str) and value in code_from:
        return code_from[value]
    raise line_error(line, f"no {what} is named {value!r}")


def spell(name: str, number: int) -> str | int:
    """Return the name of a number, or the number if it has no name."""
    return name if name[0].isalpha() else number


def spell_device(info: InputInfo) -> dict[str, Any]:
    """Return the description of a device as JSON values, with names for numbers."""
    return {
        "name": info.name,
        "serial": info.serial,
        "ids": list(info.ids),
        "personality": info.personality,
        "properties": [PROPERTY_NAMES.get(number, number) for number in info.properties],
        "capabilities": {
            type_name(kind): [spell(name_of(kind, code), code) for code in sorted(codes)]
            for kind, codes in sorted(info.capabilities.items())
        },
        "axes": {
            name_of(EV_ABS, code): {name: getattr(axis, name) for name in AXIS_FIELDS}
            for code, axis in sorted(info.axes.items())
        },
    }


def parse_device(content: dict[str, Any]) -> InputInfo:
    """Parse a description of a device. Errors: AttributeError, KeyError, TypeError, ValueError."""
    bus, vendor, product, version = (int(number) for number in content["ids"])
    capabilities = {
        TYPES.get(kind) or int(kind, 0): frozenset(
            code_from(name, CODES.get(kind, {})) for name in names
        )
        for kind, names in content["capabilities"].items()
    }
    return InputInfo(
        name=str(content["name"]),
        serial=str(content["serial"]),
        ids=(bus, vendor, product, version),
        personality=str(content["personality"]),
        properties=tuple(code_from(name, PROPERTIES) for name in content["properties"]),
        capabilities=capabilities,
        axes={
            code_from(name, CODES["EV_ABS"]): Axis(
                **{part: int(axis[part]) for part in AXIS_FIELDS}
            )
            for name, axis in content["axes"].items()
        },
        leds_on=(),
    )


def code_from(value: object, names: dict[str, int]) -> int:
    """Return the number of a name, or a number as given. Errors: KeyError, ValueError."""
    if isinstance(value, str) and not value[:1].isdigit():
        return names[value]
    return int(str(value), 0)
