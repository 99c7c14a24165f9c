"""The keyboard that types, as it is before the text: its keys, its lights, what is held."""

from __future__ import annotations

from dataclasses import dataclass, replace

from virtmesh_common.input.text import xkb

CAPS_LED = "LED_CAPSL"
LOCKS = ((CAPS_LED, "Lock"), ("LED_NUML", "Mod2"))
"""A light of the device, and the modifier that is locked while it is on."""


@dataclass(frozen=True)
class Keyboard:
    """A keyboard. Keys are evdev codes, lights are names such as LED_CAPSL."""

    keys: frozenset[int]
    leds: frozenset[str] = frozenset()
    """Lights that are on."""
    held: frozenset[int] = frozenset()
    """Keys that are down, whoever holds them."""

    @property
    def free_keys(self) -> list[int]:
        """The keys that can be pressed. Who presses a key that is held changes nothing."""
        return sorted(self.keys - self.held)

    def released(self) -> Keyboard:
        """Return this keyboard with no key held."""
        return replace(self, held=frozenset())

    def with_caps_lock(self, on: bool) -> Keyboard:  # noqa: FBT001 - it is the value
        """Return this keyboard with Caps Lock on or off."""
        return replace(self, leds=self.leds | {CAPS_LED} if on else self.leds - {CAPS_LED})


def new_state(keymap: xkb.Keymap, keyboard: Keyboard) -> xkb.State:
    """Return the state of a keyboard: the locks that its lights show, and the keys held."""
    state = xkb.State(keymap)
    state.lock(sum(keymap.modifier(lock) for led, lock in LOCKS if led in keyboard.leds))
    for key in sorted(keyboard.held):
        state.press(key)
    return state
