"""Touches as packets: protocol B of Linux' multi-touch-protocol.rst, a slot for each finger."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from virtmesh_client.input.events import EV_ABS, EV_KEY, Event
from virtmesh_client.input.models import TRACKING_ENDS
from virtmesh_client.input.pointer import between
from virtmesh_common.evdev import CODES
from virtmesh_common.input.errors import BadEvent

if TYPE_CHECKING:
    from virtmesh_client.input.events import Packet
    from virtmesh_client.input.models import InputInfo
    from virtmesh_client.input.pointer import Point
    from virtmesh_client.input.script import Script

ABS, KEY = CODES["EV_ABS"], CODES["EV_KEY"]
SLOT, TRACKING_ID = ABS["ABS_MT_SLOT"], ABS["ABS_MT_TRACKING_ID"]
MT_X, MT_Y = ABS["ABS_MT_POSITION_X"], ABS["ABS_MT_POSITION_Y"]
MT_PRESSURE, PRESSURE = ABS["ABS_MT_PRESSURE"], ABS["ABS_PRESSURE"]
PRESSURE_FRACTION = 0.5
"""A finger that means it presses with half of what the device can tell."""
TOOLS = ("BTN_TOOL_FINGER", "BTN_TOOL_DOUBLETAP", "BTN_TOOL_TRIPLETAP", "BTN_TOOL_QUADTAP")
"""How many fingers are down, for devices that say so (touchpads)."""
SPREAD = 0.06
"""Distance of fingers that swipe together, as a fraction of the axis."""


class Touches:
    """The fingers of one injector on a device. Errors: BadEvent for what is not possible."""

    def __init__(self, info: InputInfo) -> None:
        self._info = info
        self._down: dict[int, Point] = {}
        self._next_id = 0
        for code in (SLOT, TRACKING_ID, MT_X, MT_Y):
            info.axis(code)

    def copy(self) -> Touches:
        """Return the same fingers, to be moved by a call that may fail."""
        other = copy.copy(self)
        other._down = dict(self._down)  # noqa: SLF001 - its own class
        return other

    def down(self, x: int, y: int, slot: int) -> Packet:
        """Put a finger down."""
        if slot in self._down:
            raise BadEvent(f"the finger of slot {slot} is down already")
        ids = self._info.axis(TRACKING_ID)
        number = ids.minimum + self._next_id % (ids.maximum - ids.minimum + 1)
        self._next_id += 1
        before = len(self._down)
        self._down[slot] = (x, y)
        return (
            Event(EV_ABS, SLOT, slot),
            Event(EV_ABS, TRACKING_ID, number),
            *self._at(x, y, slot),
            *self._press((MT_PRESSURE, PRESSURE), PRESSURE_FRACTION),
            *self._fingers(before),
        )

    def move(self, x: int, y: int, slot: int) -> Packet:
        """Move a finger that is down."""
        self._check_down(slot)
        self._down[slot] = (x, y)
        return Event(EV_ABS, SLOT, slot), *self._at(x, y, slot)

    def up(self, slot: int) -> Packet:
        """Lift a finger."""
        self._check_down(slot)
        before = len(self._down)
        del self._down[slot]
        pressure = () if self._down else self._press((PRESSURE,), 0.0)
        return (
            Event(EV_ABS, SLOT, slot),
            Event(EV_ABS, TRACKING_ID, TRACKING_ENDS),
            *pressure,
            *self._fingers(before),
        )

    def tap(self, x: int, y: int, hold: float, count: int) -> Script:
        """Put a finger down and lift it, `count` times, with as much time between as it is down."""
        if count < 1:
            raise BadEvent(f"{count} times is not possible: choose 1 or more")
        slot = self._free(1)[0]
        script: Script = []
        for begin in (number * 2 * hold for number in range(count)):
            script += [(begin, self.down(x, y, slot)), (begin + hold, self.up(slot))]
        return script

    def swipe(self, start: Point, end: Point, duration: float, fingers: int) -> Script:
        """Swipe with fingers side by side, the first of them from point to point."""
        slots = self._free(fingers)
        width = self._info.axis(MT_X)
        gap = round(SPREAD * (width.maximum - width.minimum))
        shifts = [number * gap for number in range(fingers)]
        if max(start[0], end[0]) + shifts[-1] > width.maximum:
            shifts = [-shift for shift in shifts]
        script: Script = []
        for slot, shift in zip(slots, shifts, strict=True):
            script.append((0.0, self.down(start[0] + shift, start[1], slot)))
        for seconds, (x, y) in between(start, end, duration):
            moves = [
                self.move(x + shift, y, slot) for slot, shift in zip(slots, shifts, strict=True)
            ]
            script.append((seconds, tuple(event for packet in moves for event in packet)))
        script += [(duration, self.up(slot)) for slot in slots]
        return script

    def _free(self, count: int) -> list[int]:
        """Find slots without a finger."""
        slots = self._info.axis(SLOT)
        free = [one for one in range(slots.minimum, slots.maximum + 1) if one not in self._down]
        if not 1 <= count <= len(free):
            raise BadEvent(f"{self._info.name} has room for 1 to {len(free)} fingers, not {count}")
        return free[:count]

    def _check_down(self, slot: int) -> None:
        if slot not in self._down:
            raise BadEvent(f"no finger of slot {slot} is down")

    def _at(self, x: int, y: int, slot: int) -> Packet:
        """Say where a finger is; the first one is the pointer for those who know only one."""
        place: Packet = (Event(EV_ABS, MT_X, x), Event(EV_ABS, MT_Y, y))
        if slot == next(iter(self._down)):
            both = ((ABS["ABS_X"], x), (ABS["ABS_Y"], y))
            place += tuple(
                Event(EV_ABS, code, value) for code, value in both if self._info.has(EV_ABS, code)
            )
        return place

    def _press(self, codes: tuple[int, ...], fraction: float) -> Packet:
        """Say how hard a finger presses, for devices that tell."""
        return tuple(
            Event(EV_ABS, code, self._info.axis(code).at(fraction))
            for code in codes
            if self._info.has(EV_ABS, code)
        )

    def _fingers(self, before: int) -> Packet:
        """Say how many fingers are down, where that changed what the device says about it."""
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
