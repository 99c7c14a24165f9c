"""Which modifiers of a layout can be held together, and in which order they are pressed.

This is found by pressing keys on a keyboard state in memory. A modifier may be another key while
one is held already: on some layouts Shift and AltGr compose, and AltGr and Shift choose a level. So
each combination has its order, and it counts as what it does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from virtmesh_common.input.names import KEYS
from virtmesh_common.input.text import xkb
from virtmesh_common.input.text.strokes import modifiers_cost

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CHOOSERS = (
    "ISO_Level5_Shift",
    "ISO_Level5_Latch",
    "ISO_Level3_Shift",
    "ISO_Level3_Latch",
    "Mode_switch",
    "ISO_Level2_Latch",
    "Shift_L",
    "Shift_R",
)
"""Keysyms of keys that choose a level while they are held, and do nothing else to a program. They
are tried in this order: Shift is the one that makes another key of another modifier most often."""
DEEPEST = 3
"""Most modifiers that are held together."""

ANY_KEY = KEYS["KEY_SPACE"]
"""A key whose stroke ends what is latched."""

Held = tuple[int, ...]


class Way(NamedTuple):
    """How a level is reached: keys pressed and released first, and keys held; both in order."""

    latch: Held = ()
    """A chord that leaves its modifier for the next key alone."""
    held: Held = ()


def ways(new_state: Callable[[], xkb.State], keys: Sequence[int]) -> list[Way]:
    """Return the cheapest way to everything that keys can choose for another key, Way() first.

    Of several that cost the same, the one that CHOOSERS has first. A key that locks something is
    not among them.
    """
    found: dict[tuple[int, int], Way] = {new_state().effective: Way()}
    extend(found, new_state, Way(), keys)
    for way in list(found.values()):
        for key in choosers(reach(new_state, way), keys):
            latched = Way(latch=(*way.held, key))
            if latches(new_state, latched, found):
                found[reach(new_state, latched).effective] = latched
                extend(found, new_state, latched, keys)
    return list(found.values())


def extend(
    found: dict[tuple[int, int], Way],
    new_state: Callable[[], xkb.State],
    start: Way,
    keys: Sequence[int],
) -> None:
    """Add what holding more keys chooses, one more at a time."""
    before = new_state().effective
    edge = [start]
    for _ in range(DEEPEST):
        reached: dict[tuple[int, int], Way] = {}
        for way in edge:
            for key in choosers(reach(new_state, way), keys):
                longer = way._replace(held=(*way.held, key))
                state = reach(new_state, longer)
                effect = state.effective
                known = reached.get(effect)
                if effect in found or not passes(state, longer.held, before):
                    continue
                if known is None or modifiers_cost(longer.held) < modifiers_cost(known.held):
                    reached[effect] = longer
        found |= reached
        edge = list(reached.values())


def latches(
    new_state: Callable[[], xkb.State], way: Way, found: dict[tuple[int, int], Way]
) -> bool:
    """Say whether a chord leaves something new, and only for the next key."""
    state = reach(new_state, way)
    return state.effective not in found and passes(state, (), new_state().effective)


def choosers(state: xkb.State, keys: Sequence[int]) -> list[int]:
    """Return a key for each keysym of CHOOSERS that can be pressed now."""
    by_name: dict[str, int] = {}
    for key in keys:
        name = xkb.keysym_name(state.keysym(key))
        if name in CHOOSERS:
            by_name.setdefault(name, key)
    return [by_name[name] for name in CHOOSERS if name in by_name]


def reach(new_state: Callable[[], xkb.State], way: Way) -> xkb.State:
    """Return a keyboard that is ready for a key."""
    state = new_state()
    for key in way.latch:
        state.press(key)
    for key in reversed(way.latch):
        state.release(key)
    for key in way.held:
        state.press(key)
    return state


def passes(state: xkb.State, held: Held, before: tuple[int, int]) -> bool:
    """Say whether the keyboard is as before when another key was typed, and `held` is released."""
    state.press(ANY_KEY)
    state.release(ANY_KEY)
    for key in reversed(held):
        state.release(key)
    return state.effective == before
