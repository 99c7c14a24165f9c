"""Text as keystrokes of a keyboard layout, by libxkbcommon: Shift, AltGr, dead keys, Caps Lock.

Which keystrokes a text takes is found by typing every key, under every combination of modifiers,
on a keyboard state in memory, and noting what appears. So it holds for whatever layout xkb has.
What is planned is typed as a whole on another keyboard state, before anything is sent: a text that
does not appear there is refused.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from virtmesh_common.evdev import name_of
from virtmesh_common.input.errors import UntypableText
from virtmesh_common.input.events import EV_KEY
from virtmesh_common.input.text import xkb
from virtmesh_common.input.text.compose import Search, Starts, keep_cheapest
from virtmesh_common.input.text.decode import Decoder
from virtmesh_common.input.text.keyboard import CAPS_LED, new_state
from virtmesh_common.input.text.layouts import LOCALE, compose_table, new_keymap
from virtmesh_common.input.text.modifiers import Way, reach, ways
from virtmesh_common.input.text.strokes import Stroke, Strokes, to_packets

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from virtmesh_common.input.events import Packet
    from virtmesh_common.input.text.keyboard import Keyboard

__all__ = ["Layout", "Stroke", "to_packets"]

ENTER = "\r"
"""What xkb calls the character of the Enter key."""
BYTE_ORDER_MARK = "\ufeff"
"""It may stand at the start of a text file, and is not part of its text."""
SHOWN = 40
"""Most characters of a list in an error."""


class Layout:
    """What each character takes on a layout, for one keyboard as it is.

    `locale` is that of the system that is typed to: its table says what dead keys and Multi_key
    compose. Errors: UntypableText when xkb has no such layout or locale, or is not installed.
    """

    def __init__(
        self, layout: str, variant: str = "", *, keyboard: Keyboard, locale: str = LOCALE
    ) -> None:
        self.name = f"{layout}({variant})" if variant else layout
        self._layout, self._variant, self._locale = layout, variant, locale
        self._keymap = new_keymap(layout, variant)
        self._keyboard = keyboard
        self._keys = keyboard.free_keys
        self._direct: dict[str, Strokes] = {}
        self._search = self._type_every_key(compose_table(locale))

    @property
    def strokes(self) -> Mapping[str, Strokes]:
        """The strokes of everything that the layout types, compositions included."""
        return {**(self._search.exhaust() if self._search else {}), **self._direct}

    def spell(self, text: str) -> list[Stroke]:
        """Return the keystrokes of a text. Errors: UntypableText, with every bad character."""
        return [stroke for letter in self._letters(text) for stroke in self._strokes_of(letter)]

    def type(self, text: str) -> list[list[Packet]]:
        """Return the packets of each keystroke of a text.

        The whole sequence was typed on a keyboard state of its own, and the text appeared.
        Errors: UntypableText, with every character that can't be typed.
        """
        letters = self._letters(text)
        groups = to_packets(self.spell(text))
        judge = self._new_judge()
        before = judge.effective
        played = iter(groups)
        for letter in letters:
            start = len(judge.text)
            for _ in self._strokes_of(letter):
                judge.read(event for packet in next(played) for event in packet)
            if (typed := judge.text[start:]) != letter or judge.is_composing:
                raise self._not_reproduced(letter, typed)
        if judge.effective != before:
            raise self._not_reproduced(letters[-1], "a modifier that stays")
        return groups

    # -- Text to letters --------------------------------------------------------------------------

    def _letters(self, text: str) -> list[str]:
        """Split a text into what has keystrokes: mostly characters. Errors: UntypableText."""
        text = text.removeprefix(BYTE_ORDER_MARK).replace("\r\n", "\n").replace("\n", ENTER)
        clusters = list(split_clusters(text))
        unknown = {one for cluster in clusters for one in cluster if one not in self._direct}
        if unknown and self._search is not None:
            joined = {form for cluster in clusters for form in forms_of(cluster)}
            self._search.look_for({*unknown, *joined} - self._direct.keys())
        letters: list[str] = []
        missing: dict[str, None] = {}
        for cluster in clusters:
            letters += self._spelt(cluster) or ()
            if self._spelt(cluster) is None:
                missing |= dict.fromkeys(one for one in cluster if not self._strokes_of(one))
        if missing:
            raise self._untypable("".join(missing))
        return letters

    def _spelt(self, cluster: str) -> Sequence[str] | None:
        """Return what is typed for a character and its combining marks; None if nothing can be.

        As it is, if every part has its keys: U+2126 OHM SIGN would become a Greek letter otherwise.
        A letter and an accent that stands apart are typed as the one character that they are, if
        the accent has no key.
        """
        for form in (cluster, unicodedata.normalize("NFC", cluster)):
            if all(map(self._strokes_of, form)):
                return form
            if self._strokes_of(form):
                return (form,)
        return None

    def _strokes_of(self, letter: str) -> Strokes:
        """Return the strokes of a letter; none if it is not known."""
        found = self._direct.get(letter)
        if found is None and self._search is not None:
            found = self._search.found.get(letter)
        return found or ()

    # -- What the keys type -----------------------------------------------------------------------

    def _type_every_key(self, table: xkb.ComposeTable | None) -> Search | None:
        """Type every key under every combination of modifiers, and note what appears."""
        compose = xkb.ComposeState(table) if table is not None else None
        starts = Starts()
        direct: dict[int, Stroke] = {}
        texts: dict[int, str] = {}
        for way in ways(self._new_state, self._keys):
            state = reach(self._new_state, way)
            ends = compose is not None and any(
                map(compose.feed, pressed_keysyms(self._new_state(), way))
            )
            for key in self._keys:
                keysym = state.keysym(key)
                # A key that is held can't be pressed.
                if not keysym or key in way.held:
                    continue
                stroke = Stroke(key, way.held, way.latch)
                # A modifier would lead nowhere, and on for ever.
                if compose is not None and compose.feed(keysym):
                    starts.add(keysym, stroke, ends=ends)
                text = state.text(key)
                if text and is_alone(compose, keysym):
                    keep_cheapest(direct, keysym, stroke)
                    texts[keysym] = text
        for keysym, stroke in direct.items():
            letter = texts[keysym]
            known = self._direct.get(letter)
            if known is None or stroke.cost < known[0].cost:
                self._direct[letter] = (stroke,)
        return Search(table, starts) if table is not None else None

    def _new_state(self) -> xkb.State:
        """Return a keyboard as it is at the start of the text."""
        return new_state(self._keymap, self._keyboard)

    def _new_judge(self) -> Decoder:
        """Return another keyboard like that."""
        return Decoder(self._layout, self._variant, keyboard=self._keyboard, locale=self._locale)

    # -- Errors -----------------------------------------------------------------------------------

    def _untypable(self, missing: str) -> UntypableText:
        """Make the error for characters that have no keystrokes."""
        spelt = ", ".join(map(spell_character, missing[:SHOWN]))
        more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
        return UntypableText(
            f"the layout {self.name} does not type {spelt}{more}{self._why(missing)}",
            characters=missing,
            layout=self.name,
        )

    def _why(self, missing: str) -> str:
        """Say what else is in the way, where the keyboard as it is now is to blame."""
        keyboard = self._keyboard
        if keyboard.held and self._beside(keyboard.released()).types(missing):
            names = ", ".join(name_of(EV_KEY, key) for key in sorted(keyboard.held))
            return f" while {names} is held: release it first (`virtmesh input release`)"
        if CAPS_LED in keyboard.leds:
            unlocked = keyboard.with_caps_lock(on=False)
            if self._beside(unlocked).types(missing):
                return (
                    " while Caps Lock is on, as its light says: turn it off"
                    " (`virtmesh input key capslock`, or `type --caps-lock off`)"
                )
        return ""

    def _beside(self, keyboard: Keyboard) -> Layout:
        """Return the same layout on another keyboard."""
        return Layout(self._layout, self._variant, keyboard=keyboard, locale=self._locale)

    def types(self, characters: str) -> bool:
        """Say whether the layout types all of these characters."""
        try:
            self._letters(characters)
        except UntypableText:
            return False
        return True

    def _not_reproduced(self, letter: str, typed: str) -> UntypableText:
        """Make the error for keystrokes that type something else in their place."""
        return UntypableText(
            f"the layout {self.name} would type {typed!r} for"
            f" {', '.join(map(spell_character, letter))} here, so nothing was typed: leave this"
            " character out, or choose another layout",
            characters=letter,
            layout=self.name,
        )


def pressed_keysyms(state: xkb.State, way: Way) -> Iterator[int]:
    """Yield the keysyms of the modifiers that are pressed on a way."""
    for keys, released in ((way.latch, True), (way.held, False)):
        for key in keys:
            yield state.keysym(key)
            state.press(key)
        for key in reversed(keys if released else ()):
            state.release(key)


def is_alone(compose: xkb.ComposeState | None, keysym: int) -> bool:
    """Say whether a keysym types what it stands for, and neither begins nor makes something."""
    nothing = xkb.ComposeStatus.NOTHING
    return compose is None or compose.after([keysym]) == nothing


def split_clusters(text: str) -> Iterator[str]:
    """Yield each character with the combining marks behind it."""
    start = 0
    for index in range(1, len(text)):
        if not unicodedata.combining(text[index]):
            yield text[start:index]
            start = index
    if text:
        yield text[start:]


def forms_of(cluster: str) -> Iterator[str]:
    """Yield what may be typed for a cluster: the whole, composed, and the parts of both."""
    for form in (cluster, unicodedata.normalize("NFC", cluster)):
        yield form
        yield from form


def spell_character(letter: str) -> str:
    """Return a character with its number, such as 'é' (U+00E9)."""
    return f"{letter!r} (U+{ord(letter):04X})"
