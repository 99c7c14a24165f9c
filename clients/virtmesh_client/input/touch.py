"""Packets for touches: protocol B of Linux' multi-touch-protocol.rst, with a slot per finger."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from virtmesh_client.input.models import Axis
from virtmesh_common.evdev import CODES
from virtmesh_common.input.errors import BadEvent
from virtmesh_common.input.events import EV_ABS, EV_KEY, Event
from virtmesh_common.input.moves import line_points
from virtmesh_common.input.release import has_range, letting_go, resting_values
from virtmesh_common.input.script import check_count

if TYPE_CHECKING:
    from virtmesh_client.input.models import InputInfo
    from virtmesh_common.input.events import Packet
    from virtmesh_common.input.moves import Point
    from virtmesh_common.input.script import Script

ABS, KEY = CODES["EV_ABS"], CODES["EV_KEY"]
SLOT, TRACKING_ID = ABS["ABS_MT_SLOT"], ABS["ABS_MT_TRACKING_ID"]
MT_X, MT_Y = ABS["ABS_MT_POSITION_X"], ABS["ABS_MT_POSITION_Y"]
MT_PRESSURE, PRESSURE = ABS["ABS_MT_PRESSURE"], ABS["ABS_PRESSURE"]
TAP_SECONDS = 0.05
"""How long a tap holds its finger down."""
PRESSURE_FRACTION = 0.5
"""Pressure of a finger, as a fraction of the axis."""
USUAL_IDS = Axis(0, 0xFFFF)
"""Tracking IDs of a device that states no range for them: those that Linux gives (TRKID_MAX)."""
TOOLS = ("BTN_TOOL_FINGER", "BTN_TOOL_DOUBLETAP", "BTN_TOOL_TRIPLETAP", "BTN_TOOL_QUADTAP")
"""Keys that say how many fingers are down (touchpads have them)."""
SPREAD = 0.06
"""Distance between fingers that swipe side by side, as a fraction of the axis."""


class Touches:
    """The fingers that one injector holds on a device.

    Errors: BadEvent if the device is no multi-touch device, or a finger can't do what is asked.
    """

    def __init__(self, info: InputInfo) -> None:
        self._info = info
        self._down: dict[int, Point] = {}
        self._next_id = 0
        for code in (SLOT, TRACKING_ID, MT_X, MT_Y):
            info.axis(code)

    def copy(self) -> Touches:
        """Return a copy, so that a call that fails does not change the original."""
        other = copy.copy(self)
        other._down = dict(self._down)  # noqa: SLF001 - its own class
        return other

    def down(self, x: int, y: int, slot: int) -> Packet:
        """Put a finger down. Errors: BadEvent."""
        if slot in self._down:
            raise BadEvent(f"the finger of slot {slot} is down already: lift it, or choose another")
        ids = self._info.axis(TRACKING_ID)
        if not has_range(ids):
            ids = USUAL_IDS
        number = ids.minimum + self._next_id % (ids.maximum - ids.minimum + 1)
        self._next_id += 1
        before = len(self._down)
        self._down[slot] = (x, y)
        return (
            Event(EV_ABS, SLOT, slot),
            Event(EV_ABS, TRACKING_ID, number),
            *self._position_events(x, y, slot),
            *self._pressure_events((MT_PRESSURE, PRESSURE), PRESSURE_FRACTION),
            *self._count_events(before),
        )

    def move(self, x: int, y: int, slot: int) -> Packet:
        """Move a finger that is down. Errors: BadEvent."""
        self._check_down(slot)
        self._down[slot] = (x, y)
        return Event(EV_ABS, SLOT, slot), *self._position_events(x, y, slot)

    def up(self, slot: int) -> Packet:
        """Lift a finger. Errors: BadEvent."""
        self._check_down(slot)
        before = len(self._down)
        del self._down[slot]
        axes = {} if self._down else resting_values(self._info.axes)
        ends = letting_go(slots=[slot], axes=axes)
        return (*(Event(*one) for one in ends), *self._count_events(before))

    def tap(self, x: int, y: int, hold: float, count: int) -> Script:
        """Put a finger down and lift it, `count` times.

        It stays down for `hold` seconds each time, and up for as long in between. Errors: BadEvent.
        """
        if count < 1:
            raise BadEvent(f"a count of {count} is not possible: choose 1 or more")
        check_count(2 * count)
        slot = self._free_slots(1)[0]
        script: Script = []
        for begin in (number * 2 * hold for number in range(count)):
            script += [(begin, self.down(x, y, slot)), (begin + hold, self.up(slot))]
        return script

    def swipe(self, start: Point, end: Point, duration: float, fingers: int) -> Script:
        """Swipe with several fingers side by side. The first one moves from `start` to `end`."""
        slots = self._free_slots(fingers)
        width = self._info.axis(MT_X)
        gap = round(SPREAD * (width.maximum - width.minimum))
        shifts = [number * gap for number in range(fingers)]
        if max(start[0], end[0]) + shifts[-1] > width.maximum:
            shifts = [-shift for shift in shifts]
        script: Script = []
        for slot, shift in zip(slots, shifts, strict=True):
            script.append((0.0, self.down(start[0] + shift, start[1], slot)))
        for seconds, (x, y) in line_points(start, end, duration):
            moves = [
                self.move(x + shift, y, slot) for slot, shift in zip(slots, shifts, strict=True)
            ]
            script.append((seconds, tuple(event for packet in moves for event in packet)))
        script += [(duration, self.up(slot)) for slot in slots]
        return script

    def _free_slots(self, count: int) -> list[int]:
        """Return slots without a finger. Errors: BadEvent if there are too few."""
        slots = self._info.axis(SLOT)
        free = [one for one in range(slots.minimum, slots.maximum + 1) if one not in self._down]
        if not 1 <= count <= len(free):
            raise BadEvent(
                f"{self._info.name} has room for {len(free)} more fingers, not for {count}: lift"
                " some, or choose fewer"
            )
        return free[:count]

    def _check_down(self, slot: int) -> None:
        if slot not in self._down:
            raise BadEvent(f"no finger is down in slot {slot}: put it down first")

    def _position_events(self, x: int, y: int, slot: int) -> Packet:
        """Return the events for the position of a finger.

        The first finger also moves the pointer, for drivers that know only one touch.
        """
        place: Packet = (Event(EV_ABS, MT_X, x), Event(EV_ABS, MT_Y, y))
        if slot == next(iter(self._down)):
            both = ((ABS["ABS_X"], x), (ABS["ABS_Y"], y))
            place += tuple(
                Event(EV_ABS, code, value) for code, value in both if self._info.has(EV_ABS, code)
            )
        return place

    def _pressure_events(self, codes: tuple[int, ...], fraction: float) -> Packet:
        """Return the events for the pressure of a finger, if the device has such axes."""
        return tuple(
            Event(EV_ABS, code, axis.at(fraction))
            for code in codes
            if (axis := self._info.axes.get(code)) and has_range(axis)
        )

    def _count_events(self, before: int) -> Packet:
        """Return the key events that change with the number of fingers that are down."""
        after = len(self._down)
        changes = [("BTN_TOUCH", bool(before), bool(after))]
        changes += [
            (name, before == count, after == count) for count, name in enumerate(TOOLS, start=1)
        ]
        return tuple(
            Event(EV_KEY, KEY[name], int(now))
            for name, then, now in changes
            if then != now and self._info.has(EV_KEY, KEY[name])
        )
