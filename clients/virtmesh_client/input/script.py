"""What a script holds and leaves behind: whether the device accepts it, and what to release."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh_client.input.models import TRACKING_ENDS
from virtmesh_common.evdev import CODES
from virtmesh_common.input.errors import BadEvent
from virtmesh_common.input.events import EV_ABS, EV_KEY, Event, close_packet
from virtmesh_common.input.keys import release_chord

if TYPE_CHECKING:
    from collections.abc import Iterable

    from virtmesh_client.input.models import InputInfo
    from virtmesh_common.input.events import Packet
    from virtmesh_common.input.script import Script

EVENTS_MAX = 1024
"""Most events of a packet, including its SYN_REPORT (input.proto, InjectRequest)."""
ABS_MT_SLOT = CODES["EV_ABS"]["ABS_MT_SLOT"]
ABS_MT_TRACKING_ID = CODES["EV_ABS"]["ABS_MT_TRACKING_ID"]


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
