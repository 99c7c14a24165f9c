"""What a tablet or a mouse of the machine does for the pointer of a viewer (RFC 6143, 7.5.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from virtmesh_client.input.wheels import HI_RES_PER_NOTCH, WHEELS
from virtmesh_common.evdev import CODES
from virtmesh_common.input.events import EV_ABS, EV_KEY, EV_REL, Event
from virtmesh_common.input.names import KEYS

if TYPE_CHECKING:
    from virtmesh_client.input.models import InputInfo
    from virtmesh_common.input.events import Packet

REL, ABS = CODES["EV_REL"], CODES["EV_ABS"]
AXES = (ABS["ABS_X"], ABS["ABS_Y"])
BUTTONS = {0: "BTN_LEFT", 1: "BTN_MIDDLE", 2: "BTN_RIGHT", 7: "BTN_SIDE"}
"""Bits of the mask."""
NOTCHES = {3: (0, 1), 4: (0, -1), 5: (1, -1), 6: (1, 1)}
"""Bits that are one notch of a wheel: which of WHEELS, and where to. Up and right are positive."""


class PointerTo(NamedTuple):
    """The pointer is at a place, in fractions of the screen."""

    buttons: int
    x: float
    y: float
    is_step: bool = False
    """True if no button has changed, so that an event behind this one can stand for both."""


class PointerBy(NamedTuple):
    """The pointer moves by so many pixels."""

    buttons: int
    dx: int
    dy: int
    is_step: bool = False


Pointing: TypeAlias = PointerTo | PointerBy


def merge(first: Pointing, second: Pointing) -> Pointing | None:
    """Return one event for two, if the first is a mere step on the way."""
    if not (first.is_step and second.is_step):
        return None
    if isinstance(first, PointerBy) and isinstance(second, PointerBy):
        dx, dy = first.dx + second.dx, first.dy + second.dy
        return PointerBy(first.buttons, dx, dy, is_step=True)
    return second


def is_tablet(info: InputInfo) -> bool:
    """Say whether a device takes places on the screen."""
    both = ("ABS_X", "ABS_Y")
    return info.has(EV_KEY, KEYS["BTN_LEFT"]) and all(info.has(EV_ABS, ABS[one]) for one in both)


def is_mouse(info: InputInfo) -> bool:
    """Say whether a device takes motions."""
    return info.has(EV_KEY, KEYS["BTN_LEFT"]) and info.has(EV_REL, REL["REL_X"])


class Pointer:
    """Points with one device for one viewer."""

    def __init__(self, info: InputInfo) -> None:
        self._info = info
        self._buttons = 0
        self._place: tuple[int, ...] | None = None

    def translate(self, event: Pointing) -> list[Packet]:
        """Return the packet for an event; none if it changes nothing."""
        events = self._move(event) + self._click(event.buttons)
        self._buttons = event.buttons
        return [tuple(events)] if events else []

    def _move(self, event: Pointing) -> list[Event]:
        """Return the events that move the pointer."""
        if isinstance(event, PointerTo):
            place = tuple(
                self._info.axis(code).at(at)
                for code, at in zip(AXES, (event.x, event.y), strict=True)
            )
            before, self._place = self._place, place
            if place == before:
                return []
            return [Event(EV_ABS, code, at) for code, at in zip(AXES, place, strict=True)]
        steps = ((REL["REL_X"], event.dx), (REL["REL_Y"], event.dy))
        return [Event(EV_REL, code, step) for code, step in steps if step]

    def _click(self, buttons: int) -> list[Event]:
        """Return the events of buttons and wheels."""
        found: list[Event] = []
        for bit in range(8):
            then, now = self._buttons >> bit & 1, buttons >> bit & 1
            if then == now:
                continue
            if bit in BUTTONS:
                found.append(Event(EV_KEY, KEYS[BUTTONS[bit]], now))
            elif now:
                wheel, step = NOTCHES[bit]
                code, fine = WHEELS[wheel]
                found.append(Event(EV_REL, code, step))
                found.append(Event(EV_REL, fine, step * HI_RES_PER_NOTCH))
        return [one for one in found if self._info.has(one.type, one.code)]
