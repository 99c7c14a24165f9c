"""Scripts: packets, each with the time at which it is sent. Pure functions make them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh_client.input.events import EV_ABS, EV_KEY, Event, close_packet
from virtmesh_client.input.keys import press_chord, release_chord
from virtmesh_client.input.models import TRACKING_ENDS
from virtmesh_common.evdev import CODES
from virtmesh_common.input.errors import BadEvent

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from virtmesh_client.input.events import Packet
    from virtmesh_client.input.models import InputInfo

Timed = tuple[float, "Packet"]
"""Seconds from the start of the script, and the packet."""
Script = list[Timed]

EVENTS_MAX = 1024
"""Most events of a packet, including its SYN_REPORT (input.proto, InjectRequest)."""
ABS_MT_SLOT = CODES["EV_ABS"]["ABS_MT_SLOT"]
ABS_MT_TRACKING_ID = CODES["EV_ABS"]["ABS_MT_TRACKING_ID"]


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


def check(info: InputInfo, script: Script) -> None:
    """Check that the device would accept every packet of a script. Errors: BadEvent."""
    for moment, packet in script:
        if not 0.0 <= moment < float("inf"):
            raise BadEvent(f"a time of {moment} seconds is not possible: choose 0 or more")
        if len(close_packet(packet)) > EVENTS_MAX:
            raise BadEvent(
                f"a packet of {len(packet)} events is too large: the limit is {EVENTS_MAX} with its"
                " SYN_REPORT"
            )
        for event in packet[:-1]:
            info.check(event)
        if packet and not packet[-1].is_report:
            info.check(packet[-1])


def release_packets(packets: Iterable[Packet]) -> list[Packet]:
    """Return packets that release the keys and end the touches which `packets` leave down."""
    keys: dict[int, None] = {}
    slots: dict[int, None] = {}
    slot = 0
    for packet in packets:
        for event in packet:
            if event.type == EV_KEY:
                keys.pop(event.code, None)
                if event.value:
                    keys[event.code] = None
            elif event.type == EV_ABS and event.code == ABS_MT_SLOT:
                slot = event.value
            elif event.type == EV_ABS and event.code == ABS_MT_TRACKING_ID:
                slots.pop(slot, None)
                if event.value != TRACKING_ENDS:
                    slots[slot] = None
    ends = [
        (Event(EV_ABS, ABS_MT_SLOT, one), Event(EV_ABS, ABS_MT_TRACKING_ID, TRACKING_ENDS))
        for one in slots
    ]
    return [*ends, *release_chord(list(keys))]
