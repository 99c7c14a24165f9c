"""What the input library returns: plain values, times in seconds unless a name says otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

from virtmesh_client.input.events import EV_ABS, EV_KEY, Event
from virtmesh_common.evdev import TYPES, name_of, type_name
from virtmesh_common.input.errors import BadEvent

Wait = Literal["none", "accepted", "delivered"]
"""When a call returns: at once, with its packets in the waiting room, or with the driver."""
Overflow = Literal["wait", "refuse"]
"""What a packet does that finds the waiting room full."""

KEY_VALUES = (0, 1, 2)
"""Released, pressed, repeated; drivers repeat keys themselves, recordings hold what they did."""
DRIVER_TYPES = frozenset(TYPES[name] for name in ("EV_LED", "EV_SND", "EV_REP"))
"""Types that the driver sends and the device takes."""
TRACKING_ENDS = -1
"""ABS_MT_TRACKING_ID of a touch that ends, below the range of the axis."""


class Outcome(IntEnum):
    """What became of packets, the worst first."""

    REFUSED = 0
    LOST = 1
    SENT = 2
    """On its way: nothing is known of it yet."""
    ACCEPTED = 3
    DELIVERED = 4


@dataclass(frozen=True)
class Injected:
    """What became of the packets of one call."""

    outcome: str
    """The worst of its packets: "refused", "lost", "sent", "accepted" or "delivered"."""
    packets: int
    events: int
    """Without the SYN_REPORT of each packet."""
    first: int
    """This injector's number of the first packet; 0 when there is none."""
    last: int
    device_packet: int
    """The device's number of the last packet, ascending over all injectors; 0 when not known."""
    waiting: int
    """Packets in the waiting room when the device last said."""
    refused: int = 0
    lost: int = 0


@dataclass(frozen=True)
class Played:
    """A recording that was replayed."""

    injected: Injected
    seconds: float
    skipped: int
    """Events that the device does not have, left out as asked."""
    drift_max_us: int
    """How late the latest packet was handed over, against the recording's own times."""


@dataclass(frozen=True)
class Axis:
    """The range of an absolute axis."""

    minimum: int
    maximum: int
    fuzz: int = 0
    flat: int = 0
    resolution: int = 0

    def at(self, fraction: float) -> int:
        """Return the value at a fraction of the range, 0.0 to 1.0. Errors: BadEvent."""
        if not 0.0 <= fraction <= 1.0:
            raise BadEvent(f"{fraction:.0%} is not on the axis: choose 0% to 100%")
        return self.minimum + round(fraction * (self.maximum - self.minimum))


@dataclass(frozen=True)
class InputInfo:
    """What an input device is."""

    name: str
    serial: str
    ids: tuple[int, int, int, int]
    """Bus type, vendor, product, version."""
    personality: str
    properties: tuple[int, ...]
    capabilities: dict[int, frozenset[int]]
    """Codes by type."""
    axes: dict[int, Axis]
    """Absolute axes by code."""
    leds_on: tuple[int, ...]

    def has(self, kind: int, code: int) -> bool:
        """Say whether the device has a code."""
        return code in self.capabilities.get(kind, frozenset())

    def has_event(self, event: Event) -> bool:
        """Say whether the device can send such an event, whatever its value."""
        return event.type not in DRIVER_TYPES and self.has(event.type, event.code)

    def axis(self, code: int) -> Axis:
        """Return the range of an absolute axis. Errors: BadEvent."""
        if code not in self.axes:
            raise BadEvent(f"{self.name} has no {name_of(EV_ABS, code)}")
        return self.axes[code]

    def check(self, event: Event) -> None:
        """Refuse what the device would refuse. Errors: BadEvent."""
        if event.type in DRIVER_TYPES:
            raise BadEvent(f"{event.code_name} is for the driver to send, not for {self.name}")
        if not self.has(event.type, event.code):
            kind = type_name(event.type)
            raise BadEvent(f"{self.name} has no {event.code_name} ({kind})")
        if event.type == EV_KEY and event.value not in KEY_VALUES:
            raise BadEvent(f"{event}: a key is 1 (pressed), 0 (released) or 2 (repeated)")
        axis = self.axes.get(event.code) if event.type == EV_ABS else None
        if axis is None or axis.minimum <= event.value <= axis.maximum:
            return
        if event.code_name == "ABS_MT_TRACKING_ID" and event.value == TRACKING_ENDS:
            return
        raise BadEvent(f"{event} is out of range: {axis.minimum} to {axis.maximum}")


@dataclass(frozen=True)
class InputStats:
    """Counters of an input device since its service started."""

    packets_accepted: int
    packets_delivered: int
    packets_refused: int
    packets_lost: int
    packets_waiting: int
    packets_split: int
    events_accepted: int
    events_delivered: int
    events_output: int
    malformed: int


@dataclass(frozen=True)
class Received:
    """One event that the driver received."""

    sequence: int
    """Its number since the driver took the device, from 1 on."""
    time_us: int
    """When the driver took it, microseconds since the epoch."""
    event: Event


@dataclass(frozen=True)
class Output:
    """One packet that the driver sent to the device, with the lights that are on after it."""

    sequence: int
    events: tuple[Event, ...]
    leds_on: tuple[int, ...]
