"""Keys as text, as the driver's side sees them: an xkb state of its own, dead keys included.

It shares nothing with `text.py` but the keymap, so it is a proof of what was typed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh_client.input.events import EV_KEY
from virtmesh_client.input.text import XKB_OFFSET, compose_table, load_xkb, new_keymap
from virtmesh_common.evdev import CODES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from virtmesh_client.input.events import Event

KEY_CAPSLOCK = CODES["EV_KEY"]["KEY_CAPSLOCK"]
RELEASED, PRESSED = 0, 1


class Decoder:
    """Turns events into the text that a person would see. Errors: UntypableText as `Layout`."""

    def __init__(self, layout: str, variant: str = "", *, caps: bool = False) -> None:
        self.text = ""
        self._xkb = load_xkb()
        self._state = new_keymap(layout, variant).state_new()
        table = compose_table()
        self._compose = table.compose_state_new() if table is not None else None
        if caps:
            self._key(KEY_CAPSLOCK, PRESSED)
            self._key(KEY_CAPSLOCK, RELEASED)

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
        keycode = code + XKB_OFFSET
        if value:
            self.text += self._composed(keycode)
        if value in {RELEASED, PRESSED}:
            way = self._xkb.KeyDirection
            self._state.update_key(keycode, way.XKB_KEY_DOWN if value else way.XKB_KEY_UP)

    def _composed(self, keycode: int) -> str:
        """Return what a key types, with the dead key before it."""
        alone: str = self._state.key_get_string(keycode)
        if self._compose is None:
            return alone
        result = self._compose.feed(self._state.key_get_one_sym(keycode))
        if result is self._xkb.ComposeFeedResult.XKB_COMPOSE_FEED_IGNORED:
            return ""
        status = self._compose.get_status()
        if status is self._xkb.ComposeStatus.XKB_COMPOSE_COMPOSED:
            together: str = self._compose.get_utf8()
            return together
        return alone if status is self._xkb.ComposeStatus.XKB_COMPOSE_NOTHING else ""
