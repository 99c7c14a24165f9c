"""Keystrokes, what they cost, and the packets that they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from virtmesh_common.input.keys import press, press_chord, release, release_chord
from virtmesh_common.input.names import KEYS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from virtmesh_common.input.events import Packet

EVERYDAY_KEYS = frozenset({*range(KEYS["KEY_ESC"], KEYS["KEY_SPACE"] + 1)})
"""The main block, which every keyboard has."""
MODIFIER_COST = {KEYS["KEY_LEFTSHIFT"]: 2}
ODD_MODIFIER_COST = 3
EXTRA_KEY_COST = {KEYS["KEY_102ND"]: 3}
"""The key beside the left Shift: American keyboards lack it, European ones need it."""
FAR_COST = 20
LATCH_COST = 10


@dataclass(frozen=True)
class Stroke:
    """One key, pressed and released while modifiers are held (evdev codes).

    `modifiers` are in the order in which they are pressed. The order matters: a modifier may be
    another key while one before it is held. `latch` is a chord that is pressed and released before
    them, and changes the level of this key alone.
    """

    key: int
    modifiers: tuple[int, ...] = ()
    latch: tuple[int, ...] = ()

    @property
    def cost(self) -> tuple[int, int, tuple[int, ...], tuple[int, ...]]:
        """Less for what is more at hand, and what more systems know; ties go to lower codes."""
        far = 0 if self.key in EVERYDAY_KEYS else EXTRA_KEY_COST.get(self.key, FAR_COST)
        cost = far + modifiers_cost(self.modifiers) + LATCH_COST * len(self.latch)
        return cost, self.key, self.modifiers, self.latch


Strokes = tuple[Stroke, ...]


def modifiers_cost(modifiers: Iterable[int]) -> int:
    """Return what it costs to hold some modifiers."""
    return sum(MODIFIER_COST.get(key, ODD_MODIFIER_COST) for key in modifiers)


def sequence_cost(strokes: Strokes) -> tuple[object, ...]:
    """Return the cost of several strokes: fewer are cheaper, then those whose dearest is cheaper.

    Two sequences never cost the same, so the choice between them is always the same one.
    """
    costs = [stroke.cost for stroke in strokes]
    return len(costs), sorted(costs, reverse=True), costs


def to_packets(strokes: Sequence[Stroke]) -> list[list[Packet]]:
    """Return the packets of each keystroke; modifiers that the next one needs too stay pressed.

    Modifiers are released and pressed like a stack, so each stroke has its own in its own order.
    """
    groups: list[list[Packet]] = []
    held: tuple[int, ...] = ()
    for stroke in strokes:
        keep = 0 if stroke.latch else shared(held, stroke.modifiers)
        group = release_chord(held[keep:])
        group += press_chord(stroke.latch) + release_chord(stroke.latch)
        group += press_chord(stroke.modifiers[keep:])
        group += [press(stroke.key), release(stroke.key)]
        held = stroke.modifiers
        groups.append(group)
    if groups:
        groups[-1] += release_chord(held)
    return groups


def shared(held: tuple[int, ...], wanted: tuple[int, ...]) -> int:
    """Return how many modifiers, from the first on, are the same."""
    count = 0
    while count < min(len(held), len(wanted)) and held[count] == wanted[count]:
        count += 1
    return count
