"""Text as keystrokes of a keyboard layout, by libxkbcommon: Shift, AltGr, dead keys, Caps Lock.

Which keystrokes a text takes is found by typing every key, under every combination of modifiers,
on a keyboard state in memory, and noting what appears. So it holds for whatever layout xkb has.
"""

from __future__ import annotations

import itertools
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from virtmesh_common.input.errors import UntypableText
from virtmesh_common.input.keys import press, release
from virtmesh_common.input.names import KEYS
from virtmesh_common.input.text import xkb
from virtmesh_common.input.text.layouts import compose_table, new_keymap

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from virtmesh_common.input.events import Packet

MODIFIER_KEYSYMS = ("Shift_L", "ISO_Level3_Shift", "ISO_Level5_Shift")
LOCKS = (("LED_CAPSL", "Lock"), ("LED_NUML", "Mod2"))
"""A light of the device, and the modifier that is locked while it is on."""
EVERYDAY_KEYS = frozenset({*range(KEYS["KEY_ESC"], KEYS["KEY_SPACE"] + 1)})
"""The main block, which every keyboard has."""
MODIFIER_COST = {KEYS["KEY_LEFTSHIFT"]: 2}
ODD_MODIFIER_COST = 3
EXTRA_KEY_COST = {KEYS["KEY_102ND"]: 3}
"""The key beside the left Shift: American keyboards lack it, European ones need it."""
FAR_COST = 20
ENTER = "\r"
"""What xkb calls the character of the Enter key."""


@dataclass(frozen=True)
class Stroke:
    """One key, pressed and released while modifiers are held (evdev codes)."""

    key: int
    modifiers: tuple[int, ...] = ()

    @property
    def cost(self) -> tuple[int, int]:
        """Less for what is more at hand, and what more systems know; ties go to the lower code."""
        far = 0 if self.key in EVERYDAY_KEYS else EXTRA_KEY_COST.get(self.key, FAR_COST)
        return far + sum(
            MODIFIER_COST.get(key, ODD_MODIFIER_COST) for key in self.modifiers
        ), self.key


Strokes = tuple[Stroke, ...]


class Layout:
    """What each character takes on a layout, for the keys and the lights of one keyboard.

    Errors: UntypableText when xkb has no such layout, or is not installed.
    """

    def __init__(
        self, layout: str, variant: str = "", *, keys: frozenset[int], leds: Iterable[str] = ()
    ) -> None:
        self.name = f"{layout}({variant})" if variant else layout
        self._keymap = new_keymap(layout, variant)
        self._keys = sorted(keys)
        self._leds = frozenset(leds)
        self.strokes = self._characters()

    def spell(self, text: str) -> list[Stroke]:
        """Return the keystrokes of a text. Errors: UntypableText, with every bad character."""
        text = text.replace("\r\n", "\n").replace("\n", ENTER)
        if not self.strokes.keys() >= set(text):
            # A letter and its accent may stand apart. Not always: what a layout has as it is would
            # change too (U+2126 OHM SIGN would become a Greek letter).
            text = unicodedata.normalize("NFC", text)
        missing = [letter for letter in dict.fromkeys(text) if letter not in self.strokes]
        if missing:
            spelt = ", ".join(f"{letter!r} (U+{ord(letter):04X})" for letter in missing)
            raise UntypableText(
                f"the layout {self.name} does not type {spelt}",
                characters="".join(missing),
                layout=self.name,
            )
        return [stroke for letter in text for stroke in self.strokes[letter]]

    def _characters(self) -> dict[str, Strokes]:
        """Find the cheapest keystrokes of every character."""
        direct: dict[str, Stroke] = {}
        dead: dict[int, Stroke] = {}
        starters: dict[int, Stroke] = {}
        for stroke, keysym, text in self._every_stroke():
            if text:
                keep_cheapest(direct, text, stroke)
                keep_cheapest(starters, keysym, stroke)
            elif xkb.keysym_name(keysym).startswith("dead_"):
                keep_cheapest(dead, keysym, stroke)
                keep_cheapest(starters, keysym, stroke)
        found: dict[str, Strokes] = {text: (stroke,) for text, stroke in direct.items()}
        for text, pair in compositions(dead, starters, self._keysyms(self._modifier_keys())):
            # A key of its own is better than two.
            if text not in direct and (text not in found or costs(pair) < costs(found[text])):
                found[text] = pair
        return found

    def _every_stroke(self) -> Iterator[tuple[Stroke, int, str]]:
        """Type every key under every combination of modifiers: stroke, keysym, character."""
        held = self._modifier_keys()
        for count in range(len(held) + 1):
            for modifiers in itertools.combinations(held, count):
                state = self._new_state()
                for key in modifiers:
                    state.press(key)
                for key in self._keys:
                    keysym = state.keysym(key)
                    text = state.text(key)
                    yield Stroke(key, modifiers), keysym, text if len(text) == 1 else ""

    def _modifier_keys(self) -> list[int]:
        """Return a key for each modifier that chooses a level, as far as there are any."""
        state = self._new_state()
        names = {xkb.keysym_name(state.keysym(key)): key for key in reversed(self._keys)}
        return [names[name] for name in MODIFIER_KEYSYMS if name in names]

    def _keysyms(self, keys: Iterable[int]) -> dict[int, int]:
        """Return what keys stand for when they are pressed alone."""
        state = self._new_state()
        return {key: state.keysym(key) for key in keys}

    def _new_state(self) -> xkb.State:
        """Return a keyboard state with the locks that the lights show."""
        state = xkb.State(self._keymap)
        lit = (modifier for led, modifier in LOCKS if led in self._leds)
        state.lock(sum(map(self._keymap.modifier, lit)))
        return state


def to_packets(strokes: Sequence[Stroke]) -> list[list[Packet]]:
    """Return the packets of each keystroke; modifiers that the next one needs too stay pressed."""
    groups: list[list[Packet]] = []
    held: tuple[int, ...] = ()
    for stroke in strokes:
        group = [release(key) for key in reversed(held) if key not in stroke.modifiers]
        held = tuple(key for key in held if key in stroke.modifiers)
        group += [press(key) for key in stroke.modifiers if key not in held]
        held = stroke.modifiers
        group += [press(stroke.key), release(stroke.key)]
        groups.append(group)
    if groups:
        groups[-1] += [release(key) for key in reversed(held)]
    return groups


def keep_cheapest(found: dict[Any, Stroke], key: object, stroke: Stroke) -> None:
    """Keep a stroke that is cheaper than what is known."""
    if key not in found or stroke.cost < found[key].cost:
        found[key] = stroke


def costs(strokes: Strokes) -> list[tuple[int, int]]:
    """Return the costs of several strokes, the dearest first."""
    return sorted((stroke.cost for stroke in strokes), reverse=True)


def compositions(
    dead: dict[int, Stroke], starters: dict[int, Stroke], modifiers: dict[int, int]
) -> Iterator[tuple[str, Strokes]]:
    """Compose each dead key with each key: the character, and both strokes.

    Modifiers pressed between the two are part of it: libxkbcommon before 1.6 ends a composition at
    ISO_Level5_Shift.
    """
    table = compose_table() if dead else None
    if table is None:
        return
    state = xkb.ComposeState(table)
    for first, second in itertools.product(dead, starters):
        state.reset()
        state.feed(first)
        for key in starters[second].modifiers:
            if key not in dead[first].modifiers:
                state.feed(modifiers[key])
        state.feed(second)
        if state.status is not xkb.ComposeStatus.COMPOSED:
            continue
        text = state.text()
        if len(text) == 1:
            yield text, (dead[first], starters[second])
