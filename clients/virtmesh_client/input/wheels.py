"""Scripts that turn wheels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh_common.evdev import CODES
from virtmesh_common.input.errors import BadEvent
from virtmesh_common.input.events import EV_REL, Event
from virtmesh_common.input.script import check_count, delayed

if TYPE_CHECKING:
    from collections.abc import Callable

    from virtmesh_client.input.models import InputInfo
    from virtmesh_common.input.script import Script

HI_RES_PER_NOTCH = 120
"""Units of the high-resolution wheels in one notch (Linux, event-codes.rst: REL_WHEEL_HI_RES)."""
INT32_MAX = (1 << 31) - 1

REL = CODES["EV_REL"]
WHEELS = (
    (REL["REL_WHEEL"], REL["REL_WHEEL_HI_RES"]),
    (REL["REL_HWHEEL"], REL["REL_HWHEEL_HI_RES"]),
)


def scroll(info: InputInfo, notches: tuple[float, float], interval: float) -> Script:
    """Turn the wheels. Up and right are positive. Each notch, or part of one, is a packet.

    A device without high-resolution wheels can turn only whole notches. Errors: BadEvent.
    """
    script: Script = []
    for count, (wheel, fine) in zip(notches, WHEELS, strict=True):
        if count:
            begin = script[-1][0] + interval if script else 0.0
            script += delayed(turn(info, count, wheel, fine, interval), begin)
    return script


def turn(info: InputInfo, count: float, wheel: int, fine: int, interval: float) -> Script:
    """Turn one wheel. `fine` is the code of its high-resolution events. Errors: BadEvent."""
    if not abs(count) * HI_RES_PER_NOTCH <= INT32_MAX:
        most = INT32_MAX // HI_RES_PER_NOTCH
        raise BadEvent(f"{count} notches are too many for a wheel: choose at most {most}")
    check_count(abs(count))
    units = round(count * HI_RES_PER_NOTCH)
    has_fine = info.has(EV_REL, fine)
    if units % HI_RES_PER_NOTCH and not has_fine:
        raise BadEvent(
            f"{info.name} has no high-resolution wheel: choose whole notches, not {count:g}"
        )
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
