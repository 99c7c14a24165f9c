"""Keys as text, as the driver's side sees them: an xkb state of its own, compositions included.

It shares nothing with what plans keystrokes but the keymap and the binding, so it is a proof of
what was typed, and the judge of what is about to be typed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh_common.evdev import CODES
from virtmesh_common.input.events import EV_KEY
from virtmesh_common.input.text import xkb
from virtmesh_common.input.text.keyboard import Keyboard, new_state
from virtmesh_common.input.text.layouts import LOCALE, compose_table, new_keymap

if TYPE_CHECKING:
    from collections.abc import Iterable

    from virtmesh_common.input.events import Event

KEY_CAPSLOCK = CODES["EV_KEY"]["KEY_CAPSLOCK"]
RELEASED, PRESSED = 0, 1
UNTOUCHED = Keyboard(keys=frozenset())
"""A keyboard without lights that are on, or keys that are down."""


class Decoder:
    """Turns events into the text that a person would see. Errors: UntypableText as `Layout`.

    `caps` presses the key Caps Lock first; `keyboard` is the keyboard as it is at the start.
    """

    def __init__(
        self,
        layout: str,
        variant: str = "",
        *,
        caps: bool = False,
        locale: str = LOCALE,
        keyboard: Keyboard = UNTOUCHED,
    ) -> None:
        self.text = ""
        self._state = new_state(new_keymap(layout, variant), keyboard)
        table = compose_table(locale)
        self._compose = xkb.ComposeState(table) if table is not None else None
        if caps:
            self._key(KEY_CAPSLOCK, PRESSED)
            self._key(KEY_CAPSLOCK, RELEASED)

    @property
    def effective(self) -> tuple[int, int]:
        """The modifiers and the group that are in effect now."""
        return self._state.effective

    @property
    def is_composing(self) -> bool:
        """True while a composition is on its way."""
        return self._compose is not None and self._compose.status is xkb.ComposeStatus.COMPOSING

    def read(self, events: Iterable[Event]) -> str:
        """Take events, and return the text so far."""
        for event in events:
            self.take(event)
        return self.text

    def take(self, event: Event) -> None:
        """Take one event; those that are no keys say nothing."""
        if event.type == EV_KEY:
            self._key(event.code, event.value)

    def _key(self, code: int, value: int) -> None:
        """Press, repeat or release a key."""
        if value:
            self.text += self._composed(code)
        if value == PRESSED:
            self._state.press(code)
        elif value == RELEASED:
            self._state.release(code)

    def _composed(self, code: int) -> str:
        """Return what a key types, with the keys of its composition before it."""
        alone = self._state.text(code)
        if self._compose is None:
            return alone
        if not self._compose.feed(self._state.keysym(code)):
            return ""
        status = self._compose.status
        if status is xkb.ComposeStatus.COMPOSED:
            return self._compose.text()
        return alone if status is xkb.ComposeStatus.NOTHING else ""
