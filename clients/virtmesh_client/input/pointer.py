"""Pointers as scripts: moves, clicks, drags, wheels."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from virtmesh_client.input.events import EV_ABS, EV_REL, Event
from virtmesh_client.input.keys import press, release
from virtmesh_client.input.script import at, later
from virtmesh_common.evdev import CODES
from virtmesh_common.input.errors import BadEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from virtmesh_client.input.events import Packet
    from virtmesh_client.input.models import InputInfo
    from virtmesh_client.input.script import Script

    Point = tuple[int, int]

STEP_SECONDS = 0.008
"""Time between the packets of a path: what a USB mouse does (125 reports a second)."""
HI_RES_PER_NOTCH = 120
"""Units of the high-resolution wheels in one notch (Linux, event-codes.rst: REL_WHEEL_HI_RES)."""
INT32_MAX = (1 << 31) - 1

REL, ABS = CODES["EV_REL"], CODES["EV_ABS"]
WHEELS = (
    (REL["REL_WHEEL"], REL["REL_WHEEL_HI_RES"]),
    (REL["REL_HWHEEL"], REL["REL_HWHEEL_HI_RES"]),
)


def moments(duration: float) -> Iterator[tuple[float, float]]:
    """Return the moments of a path: seconds, and the fraction of the way, the last one 1.0."""
    if not 0 <= duration < math.inf:
        raise BadEvent(f"{duration} seconds is no duration")
    steps = max(1, round(duration / STEP_SECONDS))
    for step in range(1, steps + 1):
        yield duration * (step / steps), step / steps


def move_rel(dx: int, dy: int, duration: float) -> Script:
    """Move by a distance; the parts add up to just that."""
    script: Script = []
    x = y = 0
    for seconds, fraction in moments(duration):
        to_x, to_y = round(dx * fraction), round(dy * fraction)
        parts = ((REL["REL_X"], to_x - x), (REL["REL_Y"], to_y - y))
        packet = tuple(Event(EV_REL, code, value) for code, value in parts if value)
        if packet:
            script.append((seconds, packet))
        x, y = to_x, to_y
    return script


def position(x: int, y: int) -> Packet:
    """Be at a point."""
    return Event(EV_ABS, ABS["ABS_X"], x), Event(EV_ABS, ABS["ABS_Y"], y)


def between(start: Point, end: Point, duration: float) -> Iterator[tuple[float, Point]]:
    """Go in a straight line; the last point is just the end."""
    for seconds, fraction in moments(duration):
        x, y = (round(a + (b - a) * fraction) for a, b in zip(start, end, strict=True))
        yield seconds, (x, y)


def move_abs(start: Point | None, end: Point, duration: float) -> Script:
    """Go to a point in a straight line; from nowhere, at once."""
    if start is None:
        return at(0.0, [position(*end)])
    return [(seconds, position(*point)) for seconds, point in between(start, end, duration)]


def drag(button: int, move: Script, *, first: Script) -> Script:
    """Press a button after the packets of `first`, move, release it."""
    end = move[-1][0] if move else 0.0
    return [*first, *at(0.0, [press(button)]), *move, *at(end, [release(button)])]


def scroll(info: InputInfo, notches: tuple[float, float], interval: float) -> Script:
    """Turn the wheels: up and right are positive, one packet a notch or part of one.

    A device without high-resolution wheels turns by whole notches. Errors: BadEvent.
    """
    script: Script = []
    for count, (wheel, fine) in zip(notches, WHEELS, strict=True):
        if count:
            begin = script[-1][0] + interval if script else 0.0
            script += later(turn(info, count, wheel, fine, interval), begin)
    return script


def turn(info: InputInfo, count: float, wheel: int, fine: int, interval: float) -> Script:
    """Turn one wheel. Errors: BadEvent."""
    if not abs(count) * HI_RES_PER_NOTCH <= INT32_MAX:
        raise BadEvent(f"{count} notches is more than a wheel turns")
    units = round(count * HI_RES_PER_NOTCH)
    has_fine = info.has(EV_REL, fine)
    if units % HI_RES_PER_NOTCH and not has_fine:
        raise BadEvent(f"{info.name} turns its wheel by whole notches, not by {count:g}")
    toward: Callable[[int], int] = (lambda value: value) if units > 0 else (lambda value: -value)
    script: Script = []
    left = abs(units)
    while left:
        part = min(left, HI_RES_PER_NOTCH)
        left -= part
        events = [Event(EV_REL, wheel, toward(1))] if part == HI_RES_PER_NOTCH else []
        events += [Event(EV_REL, fine, toward(part))] if has_fine else []
        script.append((len(script) * interval, tuple(events)))
    return script
