"""Input events, and packets of events."""

from __future__ import annotations

import difflib
import struct
from typing import TYPE_CHECKING, NamedTuple

from virtmesh_common.api.input.v1 import input_pb2
from virtmesh_common.evdev import CODES, TYPES, code_of, name_of, type_name
from virtmesh_common.input.errors import BadEvent

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

EV_SYN, EV_KEY, EV_REL, EV_ABS = (TYPES[name] for name in ("EV_SYN", "EV_KEY", "EV_REL", "EV_ABS"))
EV_LED = TYPES["EV_LED"]
ALL_NAMES = [name for codes in CODES.values() for name in codes]
SYN_REPORT = CODES["EV_SYN"]["SYN_REPORT"]


class Event(NamedTuple):
    """One event: evdev type and code (16 bits each) and value (signed, 32 bits).

    Example:
        press = virtmesh_client.Event(type=1, code=30, value=1)
        print(press.type_name, press)  # EV_KEY KEY_A 1
        assert press.code_name == "KEY_A"
    """

    type: int
    code: int
    value: int

    @classmethod
    def unpack(cls, word: int) -> Event:
        """Unpack an event of `read_event`: type << 48 | code << 32 | value."""
        return cls(*struct.unpack(">HHi", struct.pack(">Q", word)))

    @property
    def type_name(self) -> str:
        """Name of the type, or its number if it has no name."""
        return type_name(self.type)

    @property
    def code_name(self) -> str:
        """Name of the code, or its number if it has no name."""
        return name_of(self.type, self.code)

    @property
    def is_report(self) -> bool:
        """True for SYN_REPORT, which ends a packet."""
        return self.type == EV_SYN and self.code == SYN_REPORT

    def __str__(self) -> str:
        return f"{self.code_name} {self.value}"


REPORT = Event(EV_SYN, SYN_REPORT, 0)
Packet = tuple[Event, ...]
"""Events that belong together. The SYN_REPORT at the end is left out if its value is 0."""


def event(name: str, value: int) -> Event:
    """Make an event from the name of its code, such as "REL_X". Errors: BadEvent."""
    try:
        return Event(*code_of(name), value)
    except KeyError:
        near = difflib.get_close_matches(name.upper(), ALL_NAMES, n=3)
        hint = f": did you mean {' or '.join(near)}?" if near else ""
        raise BadEvent(f"no event is named {name!r}{hint}", name=name) from None


def join_packets(packets: Iterable[Packet]) -> list[Event]:
    """Return the events of packets as the driver receives them, each packet with SYN_REPORT."""
    return [one for events in packets for one in close_packet(events)]


def split_packets(events: Iterable[Event | tuple[str, int]]) -> list[Packet]:
    """Split events into packets at each SYN_REPORT. An event may be a pair of name and value.

    Errors: BadEvent for an unknown name.
    """
    packets: list[Packet] = []
    part: list[Event] = []
    for one in events:
        made = one if isinstance(one, Event) else event(*one)
        if made != REPORT:
            part.append(made)
        if made.is_report:
            packets.append(tuple(part))
            part = []
    if part:
        packets.append(tuple(part))
    return packets


def close_packet(events: Packet) -> Packet:
    """Return a packet with SYN_REPORT at its end; one is added if it is missing."""
    return events if events and events[-1].is_report else (*events, REPORT)


def to_messages(events: Sequence[Event]) -> list[input_pb2.Event]:
    """Convert events to protobuf messages."""
    return [input_pb2.Event(type=one.type, code=one.code, value=one.value) for one in events]
