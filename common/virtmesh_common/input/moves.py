"""Scripts that move and drag pointers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from virtmesh_common.evdev import CODES
from virtmesh_common.input.errors import BadEvent
from virtmesh_common.input.events import EV_ABS, EV_REL, Event
from virtmesh_common.input.keys import press, release
from virtmesh_common.input.script import at, check_count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from virtmesh_common.input.events import Packet
    from virtmesh_common.input.script import Script

    Point = tuple[int, int]

CLICK_SECONDS = 0.02
"""How long a click holds its button."""
STEP_SECONDS = 0.008
"""Time between the packets of a path. A USB mouse has the same rate (125 reports a second)."""
REL, ABS = CODES["EV_REL"], CODES["EV_ABS"]


def path_times(duration: float) -> Iterator[tuple[float, float]]:
    """Yield the time of each step of a path, in seconds, and the fraction of the way by then.

    The last fraction is 1.0. Errors: BadEvent for a duration that is negative or not finite.
    """
    if not 0 <= duration < math.inf:
        raise BadEvent(f"a duration of {duration} seconds is not possible: choose 0 or more")
    check_count(duration / STEP_SECONDS)
    steps = max(1, round(duration / STEP_SECONDS))
    for step in range(1, steps + 1):
        yield duration * (step / steps), step / steps


def move_rel(dx: int, dy: int, duration: float) -> Script:
    """Move by a distance. The steps add up to exactly that distance."""
    script: Script = []
    x = y = 0
    for seconds, fraction in path_times(duration):
        to_x, to_y = round(dx * fraction), round(dy * fraction)
        parts = ((REL["REL_X"], to_x - x), (REL["REL_Y"], to_y - y))
        packet = tuple(Event(EV_REL, code, value) for code, value in parts if value)
        if packet:
            script.append((seconds, packet))
        x, y = to_x, to_y
    return script


def position(x: int, y: int) -> Packet:
    """Return the packet that puts the pointer at a point, in units of the device."""
    return Event(EV_ABS, ABS["ABS_X"], x), Event(EV_ABS, ABS["ABS_Y"], y)


def line_points(start: Point, end: Point, duration: float) -> Iterator[tuple[float, Point]]:
    """Yield times and points on a straight line. The last point is exactly the end."""
    for seconds, fraction in path_times(duration):
        x, y = (round(a + (b - a) * fraction) for a, b in zip(start, end, strict=True))
        yield seconds, (x, y)


def move_abs(start: Point | None, end: Point, duration: float) -> Script:
    """Move to a point in a straight line, or at once if `start` is None."""
    if start is None:
        return at(0.0, [position(*end)])
    return [(seconds, position(*point)) for seconds, point in line_points(start, end, duration)]


def drag(button: int, move: Script, *, first: Script) -> Script:
    """Send the packets of `first`, press a button, move, and release the button."""
    end = move[-1][0] if move else 0.0
    return [*first, *at(0.0, [press(button)]), *move, *at(end, [release(button)])]
