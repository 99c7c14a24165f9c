"""What a script holds and leaves behind: whether the device accepts it, and what to release."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh_common.input.errors import BadEvent
from virtmesh_common.input.events import Event, close_packet
from virtmesh_common.input.release import Held

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from virtmesh_client.input.models import InputInfo
    from virtmesh_common.input.events import Packet
    from virtmesh_common.input.script import Script

EVENTS_MAX = 1024
"""Most events of a packet, including its SYN_REPORT (input.proto, InjectRequest)."""
SECONDS_MAX = 1e9
"""Longest time of a script, about 31 years: the clocks of some systems end soon after."""


def check(info: InputInfo, script: Script, *, any_value: bool = False) -> None:
    """Check that the device would accept every packet of a script. Errors: BadEvent.

    With `any_value`, values of axes may be out of range.
    """
    for moment, packet in script:
        if not 0.0 <= moment <= SECONDS_MAX:
            raise BadEvent(
                f"a time of {moment:g} seconds is not possible: choose 0 to {SECONDS_MAX:g}"
            )
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
