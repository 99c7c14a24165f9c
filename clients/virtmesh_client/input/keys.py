"""Packets of keys and buttons."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh_client.input.events import EV_KEY, Event

if TYPE_CHECKING:
    from collections.abc import Sequence

    from virtmesh_client.input.events import Packet


def press(key: int) -> Packet:
    """Press one key."""
    return (Event(EV_KEY, key, 1),)


def release(key: int) -> Packet:
    """Release one key."""
    return (Event(EV_KEY, key, 0),)


def press_chord(keys: Sequence[int]) -> list[Packet]:
    """Press keys one after the other."""
    return [press(key) for key in keys]


def release_chord(keys: Sequence[int]) -> list[Packet]:
    """Release keys in the reverse order."""
    return [release(key) for key in reversed(keys)]
