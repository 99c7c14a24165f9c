"""Scripts: packets, each with the time at which it is sent. Pure functions make them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh_common.input.errors import BadEvent
from virtmesh_common.input.keys import press_chord, release_chord

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from virtmesh_common.input.events import Packet

Timed = tuple[float, "Packet"]
"""Seconds from the start of the script, and the packet."""
Script = list[Timed]
PACKETS_MAX = 1 << 20
"""Most packets that one call makes: a script is a list in memory."""


def check_count(packets: float) -> None:
    """Check how many packets a script is to have, before it is made. Errors: BadEvent."""
    if not packets <= PACKETS_MAX:
        raise BadEvent(
            f"{packets:.0f} packets are too many for one call: make several, of at most"
            f" {PACKETS_MAX} each"
        )


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
    check_count(2 * count * sum(map(len, chords)))
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
