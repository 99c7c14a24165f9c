"""Text as keystrokes of a keyboard layout, by libxkbcommon: Shift, AltGr, dead keys, Caps Lock.

Which keystrokes a text takes is found by typing every key, under every combination of modifiers,
on a keyboard state in memory, and noting what appears. So it holds for whatever layout xkb has.
"""

from __future__ import annotations

import functools
import itertools
import os
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from virtmesh_client.input.keys import press, release
from virtmesh_client.input.names import KEYS
from virtmesh_common.input.errors import UntypableText

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from virtmesh_client.input.events import Packet

XKB_OFFSET = 8
"""An xkb keycode is the evdev code and this (X11 keeps 0 to 7 to itself)."""
RULES, MODEL = "evdev", "pc105"
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
COMPOSE_FILE = Path("en_US.UTF-8") / "Compose"
LOCALE_FOLDERS = ("/usr/share/X11/locale", "/usr/local/share/X11/locale")


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
        self._xkb = load_xkb()
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
            elif self._xkb.keysym_get_name(keysym).startswith("dead_"):
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
                    state.update_key(key + XKB_OFFSET, self._xkb.KeyDirection.XKB_KEY_DOWN)
                for key in self._keys:
                    keysym = state.key_get_one_sym(key + XKB_OFFSET)
                    text = state.key_get_string(key + XKB_OFFSET)
                    yield Stroke(key, modifiers), keysym, text if len(text) == 1 else ""

    def _modifier_keys(self) -> list[int]:
        """Return a key for each modifier that chooses a level, as far as there are any."""
        state = self._new_state()
        names = {
            self._xkb.keysym_get_name(state.key_get_one_sym(key + XKB_OFFSET)): key
            for key in reversed(self._keys)
        }
        return [names[name] for name in MODIFIER_KEYSYMS if name in names]

    def _keysyms(self, keys: Iterable[int]) -> dict[int, int]:
        """Return what keys stand for when they are pressed alone."""
        state = self._new_state()
        return {key: state.key_get_one_sym(key + XKB_OFFSET) for key in keys}

    def _new_state(self) -> Any:
        """Return a keyboard state with the locks that the lights show."""
        state = self._keymap.state_new()
        locked = 0
        for led, modifier in LOCKS:
            if led in self._leds:
                locked |= 1 << self._keymap.mod_get_index(modifier)
        state.update_mask(0, 0, locked, 0, 0, 0)
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
    xkb = load_xkb()
    state = table.compose_state_new()
    for first, second in itertools.product(dead, starters):
        state.reset()
        state.feed(first)
        for key in starters[second].modifiers:
            if key not in dead[first].modifiers:
                state.feed(modifiers[key])
        state.feed(second)
        if state.get_status() is not xkb.ComposeStatus.XKB_COMPOSE_COMPOSED:
            continue
        text = state.get_utf8()
        if len(text) == 1:
            yield text, (dead[first], starters[second])


def load_xkb() -> Any:
    """Return the binding of libxkbcommon. Errors: UntypableText, with the mend."""
    try:
        from xkbcommon import xkb  # noqa: PLC0415 - an extra, and only text needs it
    except ImportError as error:
        raise UntypableText(
            f"typing text needs libxkbcommon ({error}): apt-get install libxkbcommon-dev xkb-data"
            " gcc python3-dev, then pip install 'virtmesh[input]'; `key` and raw events need no"
            " layout"
        ) from None
    return xkb


@functools.cache
def context() -> Any:
    """Return the xkb context; it reads the system's layouts, not those of a user's home."""
    xkb = load_xkb()
    made = xkb.Context(no_environment_names=True)
    # What goes wrong is raised; libxkbcommon would print it too.
    made.set_log_fn(lambda *_: None)
    return made


@functools.lru_cache(maxsize=16)
def new_keymap(layout: str, variant: str) -> Any:
    """Compile a keymap. Errors: UntypableText."""
    xkb = load_xkb()
    try:
        # A comma would make several layouts of it, with keys to switch between them.
        if layout and "," not in layout + variant:
            return context().keymap_new_from_names(
                rules=RULES, model=MODEL, layout=layout, variant=variant
            )
    except xkb.XKBKeymapCreationFailure:
        pass
    name = f"{layout}({variant})" if variant else layout
    raise UntypableText(
        f"xkb knows no layout {name!r}: write us, de, fr, ..."
        " (/usr/share/X11/xkb/rules/evdev.lst lists layouts and variants)",
        layout=name,
    )


@functools.cache
def compose_table() -> Any | None:
    """Load the compose table of the system, None where there is none.

    By path: by locale, libxkbcommon would prefer the table in a user's home, which says nothing
    about the system that is typed to.
    """
    folders = (os.environ.get("XLOCALEDIR", ""), *LOCALE_FOLDERS)
    for folder in filter(None, folders):
        path = Path(folder) / COMPOSE_FILE
        if path.is_file():
            return context().compose_table_new_from_buffer(path.read_bytes(), "en_US.UTF-8")
    return None
