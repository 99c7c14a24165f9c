"""Packets that press and release keys and buttons."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh_common.input.events import EV_KEY, Event

if TYPE_CHECKING:
    from collections.abc import Sequence

    from virtmesh_common.input.events import Packet


def press(key: int) -> Packet:
    """Return the packet that presses one key."""
    return (Event(EV_KEY, key, 1),)


def release(key: int) -> Packet:
    """Return the packet that releases one key."""
    return (Event(EV_KEY, key, 0),)


def press_chord(keys: Sequence[int]) -> list[Packet]:
    """Return the packets that press keys in order, one key in each."""
    return [press(key) for key in keys]


def release_chord(keys: Sequence[int]) -> list[Packet]:
    """Return the packets that release keys in reverse order, one key in each."""
    return [release(key) for key in reversed(keys)]
