"""Which modifiers of a layout can be held together, and in which order they are pressed.

This is found by pressing keys on a keyboard state in memory. A modifier may be another key while
one is held already: on some layouts Shift and AltGr compose, and AltGr and Shift choose a level. So
each combination has its order, and it counts as what it does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh_common.input.names import KEYS
from virtmesh_common.input.text import xkb
from virtmesh_common.input.text.strokes import modifiers_cost

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

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


def combinations(new_state: Callable[[], xkb.State], keys: Sequence[int]) -> Iterator[Held]:
    """Yield the cheapest keys to hold for everything that holding keys can choose, () first.

    Of several that cost the same, the one that CHOOSERS has first. A key that locks something is
    not among them.
    """
    found: dict[tuple[int, int], Held] = {new_state().effective: ()}
    yield ()
    edge: list[Held] = [()]
    for _ in range(DEEPEST):
        reached: dict[tuple[int, int], Held] = {}
        for held in edge:
            for key in choosers(hold(new_state, held), keys):
                longer = (*held, key)
                state = hold(new_state, longer)
                effect = state.effective
                known = reached.get(effect)
                if effect in found or not is_only_held(state, longer, new_state().effective):
                    continue
                if known is None or modifiers_cost(longer) < modifiers_cost(known):
                    reached[effect] = longer
        found |= reached
        edge = list(reached.values())
        yield from edge


def choosers(state: xkb.State, keys: Sequence[int]) -> list[int]:
    """Return a key for each keysym of CHOOSERS that can be pressed now."""
    by_name: dict[str, int] = {}
    for key in keys:
        name = xkb.keysym_name(state.keysym(key))
        if name in CHOOSERS:
            by_name.setdefault(name, key)
    return [by_name[name] for name in CHOOSERS if name in by_name]


def hold(new_state: Callable[[], xkb.State], keys: Held) -> xkb.State:
    """Return a keyboard on which some keys are held."""
    state = new_state()
    for key in keys:
        state.press(key)
    return state


def is_only_held(state: xkb.State, keys: Held, before: tuple[int, int]) -> bool:
    """Say whether the keyboard is as before when the keys are released, after another key."""
    state.press(ANY_KEY)
    state.release(ANY_KEY)
    for key in reversed(keys):
        state.release(key)
    return state.effective == before
