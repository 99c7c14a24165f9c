"""How a device lets go: one packet that ends touches, puts axes back and releases keys.

A device that is let go of says so in one packet: every touch ends, the pressure goes back to its
rest, and the keys go up, the newest first. So no driver ever sees a contact without BTN_TOUCH, or
BTN_TOUCH without a contact. Both sides use this: the device for an injector that is gone, and the
client library for a call that is interrupted and for the last finger.

https://docs.kernel.org/input/multi-touch-protocol.html,
https://docs.kernel.org/input/event-codes.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from virtmesh_common.evdev import CODES, TYPES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

EventTuple = tuple[int, int, int]
"""Type, code, value."""

EV_SYN, EV_KEY, EV_ABS = TYPES["EV_SYN"], TYPES["EV_KEY"], TYPES["EV_ABS"]
SYN_MT_REPORT = CODES["EV_SYN"]["SYN_MT_REPORT"]
BTN_TOUCH = CODES["EV_KEY"]["BTN_TOUCH"]
CONTACT_KEYS = range(CODES["EV_KEY"]["BTN_TOOL_PEN"], CODES["EV_KEY"]["BTN_TOOL_QUADTAP"] + 1)
"""Keys that say what is on or above the surface: BTN_TOUCH, pens with their buttons, fingers."""
ABS_MT_SLOT = CODES["EV_ABS"]["ABS_MT_SLOT"]
ABS_MT_TRACKING_ID = CODES["EV_ABS"]["ABS_MT_TRACKING_ID"]
ABS_MT = range(CODES["EV_ABS"]["ABS_MT_TOUCH_MAJOR"], CODES["EV_ABS"]["ABS_MT_TOOL_Y"] + 1)
"""The axes of one contact of several."""
NO_TOUCH = -1
"""The ABS_MT_TRACKING_ID that ends a touch."""
RELEASED = 0
"""The value of a key that is up."""
AXES_AT_REST = (CODES["EV_ABS"]["ABS_PRESSURE"], CODES["EV_ABS"]["ABS_TOOL_WIDTH"])
"""Axes that go back to 0 when nothing touches the device. The others keep their last value."""


class Range(Protocol):
    """The range of an axis."""

    @property
    def minimum(self) -> int:
        """Smallest value."""

    @property
    def maximum(self) -> int:
        """Largest value. An axis whose maximum is not above its minimum has no range."""


def has_range(axis: Range) -> bool:
    """Say whether an axis states a range: many devices state 0 to 0, which means none."""
    return axis.minimum < axis.maximum


def resting_values(axes: Mapping[int, Range]) -> dict[int, int]:
    """Return the values of a device's axes when nothing touches it: 0, or the nearest to it."""
    return {
        code: max(axes[code].minimum, min(0, axes[code].maximum)) if has_range(axes[code]) else 0
        for code in AXES_AT_REST
        if code in axes
    }


def speaks_protocol_a(codes: Iterable[int]) -> bool:
    """Say whether a device with these ABS_* codes reports contacts by SYN_MT_REPORT."""
    codes = set(codes)
    return ABS_MT_SLOT not in codes and not codes.isdisjoint(ABS_MT)


def letting_go(
    *,
    slots: Iterable[int] = (),
    keys: Iterable[int] = (),
    axes: Mapping[int, int] | None = None,
    contacts: bool = False,
    slot: int | None = None,
) -> list[EventTuple]:
    """Return the events that let go, without SYN_REPORT: none when there is nothing to let go.

    `slots` are those of touches to end, `keys` are to be released in this order, `axes` get the
    given values. `contacts` says that contacts of protocol A are to end. `slot` is the one that
    the driver was told last.
    """
    events: list[EventTuple] = []
    for one in slots:
        if one != slot:
            events.append((EV_ABS, ABS_MT_SLOT, one))
            slot = one
        events.append((EV_ABS, ABS_MT_TRACKING_ID, NO_TOUCH))
    if contacts:
        events.append((EV_SYN, SYN_MT_REPORT, 0))
    events += [(EV_ABS, code, value) for code, value in (axes or {}).items()]
    events += [(EV_KEY, code, RELEASED) for code in keys]
    return events


class Held:
    """What one source of events holds down. `resting` are the device's values at rest."""

    def __init__(self, resting: Mapping[int, int]) -> None:
        self._resting = resting
        self._keys: dict[int, None] = {}
        self._slots: dict[int, None] = {}
        self._axes: dict[int, int] = {}
        self._contacts = False
        self._slot = 0

    def note(self, packet: Iterable[EventTuple]) -> None:
        """Note the events of one packet."""
        reported = contacts = False
        for kind, code, value in packet:
            if kind == EV_KEY:
                self._keys.pop(code, None)
                if value:
                    self._keys[code] = None
            elif kind == EV_ABS:
                self._note_axis(code, value)
                contacts |= code in ABS_MT
            reported |= kind == EV_SYN and code == SYN_MT_REPORT
        if reported:
            self._contacts = contacts

    def _note_axis(self, code: int, value: int) -> None:
        """Note a value of an axis."""
        if code == ABS_MT_SLOT:
            self._slot = value
        elif code == ABS_MT_TRACKING_ID:
            self._slots.pop(self._slot, None)
            if value != NO_TOUCH:
                self._slots[self._slot] = None
        elif code in self._resting:
            self._axes[code] = value

    def let_go(self) -> list[EventTuple]:
        """Return the events that let go of everything, without SYN_REPORT."""
        return letting_go(
            slots=reversed(self._slots),
            keys=reversed(self._keys),
            axes={
                code: rest
                for code, rest in self._resting.items()
                if self._axes.get(code, rest) != rest
            },
            contacts=self._contacts,
        )
