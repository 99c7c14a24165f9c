"""Scripts: packets, each with the time at which it is sent. Pure functions make them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh_client.input.events import Event, close_packet
from virtmesh_client.input.keys import press_chord, release_chord
from virtmesh_common.input.errors import BadEvent
from virtmesh_common.input.release import Held

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from virtmesh_client.input.events import Packet
    from virtmesh_client.input.models import InputInfo

Timed = tuple[float, "Packet"]
"""Seconds from the start of the script, and the packet."""
Script = list[Timed]

EVENTS_MAX = 1024
"""Most events of a packet, including its SYN_REPORT (input.proto, InjectRequest)."""


def at(seconds: float, packets: Iterable[Packet]) -> Script:
    """Return a script that sends all packets at the same time, in order."""
    return [(seconds, packet) for packet in packets]


def delayed(script: Script, seconds: float) -> Script:
    """Return a script that begins `seconds` later."""
    return [(moment + seconds, packet) for moment, packet in script]


def press_keys(
    chords: Sequence[Sequence[int]], *, hold: float, count: int, interval: float
) -> Script:
    """Press and release each chord `count` times.

    Each press lasts `hold` seconds; `interval` seconds pass between a release and the next press.
    Errors: BadEvent if `count` is less than 1.
    """
    if count < 1:
        raise BadEvent(f"a count of {count} is not possible: choose 1 or more")
    period = hold + interval
    presses = [keys for keys in chords for _ in range(count)]
    return [
        timed
        for number, keys in enumerate(presses)
        for timed in (
            *at(number * period, press_chord(keys)),
            *at(number * period + hold, release_chord(keys)),
        )
    ]


def check(info: InputInfo, script: Script, *, any_value: bool = False) -> None:
    """Check that the device would accept every packet of a script. Errors: BadEvent.

    With `any_value`, values of axes may be out of range.
    """
    for moment, packet in script:
        if not 0.0 <= moment < float("inf"):
            raise BadEvent(f"a time of {moment} seconds is not possible: choose 0 or more")
        if len(close_packet(packet)) > EVENTS_MAX:
            raise BadEvent(
                f"a packet of {len(packet)} events is too large: the limit is {EVENTS_MAX} with its"
                " SYN_REPORT"
            )
        for event in packet[:-1]:
            info.check(event, any_value=any_value)
        if packet and not packet[-1].is_report:
            info.check(packet[-1], any_value=any_value)


def release_packets(packets: Iterable[Packet], resting: Mapping[int, int]) -> list[Packet]:
    """Return the packet that lets go of what `packets` leave down; none if that is nothing.

    `resting` has the values of the device's axes when nothing touches it.
    """
    held = Held(resting)
    for packet in packets:
        held.note(packet)
    events = tuple(Event(*one) for one in held.let_go())
    return [events] if events else []
