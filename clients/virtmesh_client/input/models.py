"""Values that the input library returns. Times are in seconds unless a name says otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

from virtmesh_common.evdev import TYPES, name_of, type_name
from virtmesh_common.input.errors import BadEvent
from virtmesh_common.input.events import EV_ABS, EV_KEY, EV_LED, EV_SYN, Event
from virtmesh_common.input.release import (
    ABS_MT_SLOT,
    ABS_MT_TRACKING_ID,
    NO_TOUCH,
    SYN_MT_REPORT,
    has_range,
    speaks_protocol_a,
)
from virtmesh_common.input.text.keyboard import Keyboard

Wait = Literal["none", "accepted", "delivered"]
"""When a call returns: at once; when the device has accepted all packets into its waiting room; or
when the driver has received all of them."""
Overflow = Literal["wait", "refuse"]
"""What happens to a packet when the waiting room is full: it waits, or the device refuses it."""

INT32_MIN, INT32_MAX = -(1 << 31), (1 << 31) - 1
"""What the value of an event has room for."""
KEY_VALUES = (0, 1, 2)
"""Values of a key: released, pressed, repeated. Recordings contain repeats that drivers made."""
DRIVER_TYPES = frozenset(TYPES[name] for name in ("EV_LED", "EV_SND", "EV_REP"))
"""Event types that the driver sends to the device."""
SYSTEM_TYPES = DRIVER_TYPES | {TYPES["EV_FF"]}
"""Event types that a recording has from the system, not from the device. No device sends them."""


class Outcome(IntEnum):
    """Outcome of a packet, the worst first."""

    REFUSED = 0
    LOST = 1
    SENT = 2
    """The packet was sent and has no answer yet."""
    ACCEPTED = 3
    DELIVERED = 4


@dataclass(frozen=True)
class Injected:
    """Summary of the packets that one call sent.

    Example:
        with virtmesh_client.connect() as machine, machine.input("keyboard") as keyboard:
            injected = keyboard.key("enter", wait="delivered")
        assert (injected.packets, injected.outcome) == (2, "delivered")
    """

    outcome: str
    """The worst outcome of the packets: "refused", "lost", "sent", "accepted" or "delivered"."""
    packets: int
    """Number of packets."""
    events: int
    """Number of events, without the SYN_REPORT of each packet."""
    first: int
    """Number of the first packet, as this injector counts; 0 if there is none."""
    last: int
    """Number of the last packet, as this injector counts; 0 if there is none."""
    device_packet: int
    """Number of the last packet, as the device counts over all injectors; 0 if not known."""
    waiting: int
    """Packets that were in the waiting room at the device's last response."""
    refused: int = 0
    """Number of packets that the device refused because its waiting room was full."""
    lost: int = 0
    """Number of packets that were lost because the driver went away."""


@dataclass(frozen=True)
class Played:
    """Result of replaying a recording.

    Example:
        with virtmesh_client.connect() as machine, machine.input("keyboard") as keyboard:
            played = keyboard.play(virtmesh_client.Recording())
        assert (played.injected.packets, played.skipped) == (0, 0)
    """

    injected: Injected
    """Summary of the packets."""
    seconds: float
    """How long the replay took."""
    skipped: int
    """Number of events that were left out: those that the device does not have, and those that the
    system had sent to the recorded device, such as lights."""
    drift_max_us: int
    """Largest delay of a packet against its time in the recording, in microseconds."""


@dataclass(frozen=True)
class Axis:
    """Range of an absolute axis, in units of the device (struct virtio_input_absinfo).

    If the maximum is not above the minimum, the device states no range.
    """

    minimum: int
    maximum: int
    fuzz: int = 0
    flat: int = 0
    resolution: int = 0

    def at(self, fraction: float) -> int:
        """Return the value at a fraction of the range, 0.0 to 1.0. Errors: BadEvent."""
        if not has_range(self):
            raise BadEvent(
                f"the device states no range ({self.minimum} to {self.maximum}) for this axis: give"
                " the value in its units"
            )
        if not 0.0 <= fraction <= 1.0:
            raise BadEvent(f"{fraction:.0%} is outside the axis: choose 0% to 100%")
        return self.minimum + round(fraction * (self.maximum - self.minimum))


@dataclass(frozen=True)
class InputInfo:
    """Description of an input device.

    Example:
        with virtmesh_client.connect() as machine:
            info = machine.input("keyboard").info()
        assert info.has(1, 30)  # EV_KEY, KEY_A
    """

    name: str
    serial: str
    ids: tuple[int, int, int, int]
    """Bus type, vendor, product, version."""
    personality: str
    """Name of the personality: the kind of device that it presents, such as "keyboard"."""
    properties: tuple[int, ...]
    """Numbers of the properties (INPUT_PROP_*)."""
    capabilities: dict[int, frozenset[int]]
    """Event codes by event type."""
    axes: dict[int, Axis]
    """Ranges of the absolute axes, by code."""
    leds_on: tuple[int, ...]
    """Codes of the LEDs that are on."""
    keys_held: tuple[int, ...] = ()
    """Codes of the keys and buttons that are down, whoever holds them."""

    @property
    def keyboard(self) -> Keyboard:
        """The keyboard that types: its keys, its lights, and what is held."""
        return Keyboard(
            keys=self.capabilities.get(EV_KEY, frozenset()),
            leds=frozenset(name_of(EV_LED, code) for code in self.leds_on),
            held=frozenset(self.keys_held),
        )

    def has(self, kind: int, code: int) -> bool:
        """Return whether the device has a code. `kind` is its event type."""
        return code in self.capabilities.get(kind, frozenset())

    def has_event(self, event: Event) -> bool:
        """Return whether the device can send an event with this type and code."""
        if event[:2] == (EV_SYN, SYN_MT_REPORT):
            return speaks_protocol_a(self.axes)
        return event.type not in DRIVER_TYPES and self.has(event.type, event.code)

    def axis(self, code: int) -> Axis:
        """Return the range of an absolute axis. Errors: BadEvent if the device does not have it."""
        if code not in self.axes:
            raise BadEvent(f"{self.name} has no axis {name_of(EV_ABS, code)}")
        return self.axes[code]

    def check(self, event: Event, *, any_value: bool = False) -> None:
        """Check that the device would accept an event. Errors: BadEvent.

        With `any_value`, values of axes may be out of range, as those of real devices are.
        """
        if event.type in DRIVER_TYPES:
            raise BadEvent(
                f"{event.code_name} can't be injected: {type_name(event.type)} events are for the"
                f" driver of {self.name} to send"
            )
        if not self.has_event(event):
            kind = type_name(event.type)
            raise BadEvent(f"{self.name} has no {event.code_name} ({kind})")
        if event.type == EV_KEY and event.value not in KEY_VALUES:
            raise BadEvent(
                f"{event}: the value of a key must be 1 (pressed), 0 (released) or 2 (repeated)"
            )
        if not INT32_MIN <= event.value <= INT32_MAX:
            raise BadEvent(f"{event}: a value has 32 bits: choose {INT32_MIN} to {INT32_MAX}")
        axis = self.axes.get(event.code) if event.type == EV_ABS else None
        is_slot = event.code == ABS_MT_SLOT
        if axis is None or axis.minimum <= event.value <= axis.maximum:
            return
        if not is_slot and (any_value or not has_range(axis)):
            return
        if event.code == ABS_MT_TRACKING_ID and event.value == NO_TOUCH:
            return
        mend = "" if is_slot else "; any_value=True (--any-value) sends it all the same"
        raise BadEvent(
            f"{event} is out of range: {event.code_name} goes from {axis.minimum} to"
            f" {axis.maximum}{mend}"
        )


@dataclass(frozen=True)
class InputStats:
    """Counters of an input device since its service started (virtmesh.input.v1).

    Example:
        with virtmesh_client.connect() as machine:
            stats = machine.input("keyboard").stats()
        assert stats.packets_delivered <= stats.packets_accepted
    """

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
    """One event that the driver received.

    Example:
        with virtmesh_client.connect() as machine, machine.input("keyboard") as keyboard:
            with keyboard.watch() as watch:
                keyboard.key("a")
                assert str(next(watch).event) == "KEY_A 1"
    """

    sequence: int
    """Number of the event. The first event after the driver attached has number 1. SYN_DROPPED,
    after a restart of the kernel service, has that of the event before it, or 0."""
    time_us: int
    """When the driver received it, in microseconds since 1970-01-01 UTC."""
    event: Event
    """The event itself."""


@dataclass(frozen=True)
class OutputPacket:
    """One packet that the driver sent to the device, such as a change of the LEDs."""

    sequence: int
    """Number of the packet. The first one since the service started has number 1."""
    events: tuple[Event, ...]
    """The events of the packet."""
    leds_on: tuple[int, ...]
    """Codes of the LEDs that are on after the packet."""
    missed: int | None = 0
    """Packets up to this number that did not come, since the kernel service was restarted; None:
    nobody knows how many. Such a packet has no events."""
