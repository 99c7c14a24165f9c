"""What a keyboard of the machine does for the keys of a viewer.

A viewer that tells scan codes is a keyboard: the layout is the guest's affair. Others tell what a
key types. Then the key that types it on the guest's layout is pressed, with the modifiers that it
takes there: they are pressed, or lifted, for as long as the key is down.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from virtmesh_client.vnc.keysyms import CAPS_LOCK, KEY_BY_KEYSYM, to_character
from virtmesh_client.vnc.scancodes import KEY_BY_SCANCODE
from virtmesh_common.input.errors import TypingUnavailable, UntypableText
from virtmesh_common.input.events import EV_KEY
from virtmesh_common.input.keys import press, press_chord, release, release_chord
from virtmesh_common.input.names import KEYS
from virtmesh_common.input.text.plan import TextOptions, open_layout
from virtmesh_common.input.text.strokes import to_packets

if TYPE_CHECKING:
    from virtmesh_client.input.models import InputInfo
    from virtmesh_client.vnc.messages import KeyEvent
    from virtmesh_common.input.events import Packet
    from virtmesh_common.input.text.strokes import Strokes

Step: TypeAlias = "Packet | str"
"""A packet for the device, or a character that the device service is to type."""
SHIFTS = (KEYS["KEY_LEFTSHIFT"], KEYS["KEY_RIGHTSHIFT"])
LEVEL_KEYS = frozenset((*SHIFTS, KEYS["KEY_RIGHTALT"]))
"""Modifiers that choose what a key types."""
MODIFIERS = LEVEL_KEYS | {
    KEYS[f"KEY_{side}{name}"] for side in ("LEFT", "RIGHT") for name in ("CTRL", "ALT", "META")
}


class Typist:
    """Types on one keyboard for one viewer."""

    def __init__(self, info: InputInfo, layout: str) -> None:
        self._info = info
        self._keyboard = info.keyboard.released().with_caps_lock(on=False)
        self._options = TextOptions(layout)
        self._held: set[int] = set()
        self._by_text: set[int] = set()
        """Held keys that were pressed for what they type."""
        self._adjusted: tuple[int, tuple[int, ...], tuple[int, ...]] | None = None
        """A key that is down, and the modifiers that were pressed and lifted for it."""

    def translate(self, event: KeyEvent) -> list[Step]:
        """Return what to do for a key. Nothing for one that the keyboard does not have."""
        key = KEY_BY_SCANCODE.get(event.scancode)
        if key is None and event.keysym != CAPS_LOCK:
            key = KEY_BY_KEYSYM.get(event.keysym)
        if key is not None:
            return [*self._press(key)] if event.down else [*self._release(key)]
        character = to_character(event.keysym)
        if not character:
            return []
        try:
            strokes = tuple(open_layout(self._keyboard, self._options).spell(character))
        except UntypableText:
            return []
        except TypingUnavailable:
            return [character] if event.down else []
        if len(strokes) == 1 and not strokes[0].latch:
            return [*self._type(strokes[0].key, strokes[0].modifiers, down=event.down)]
        return [*self._tap(strokes)] if event.down else []

    def _press(self, key: int) -> list[Packet]:
        """Press a key. One that is down stays so: the guest repeats it by itself."""
        if key in self._held or not self._info.has(EV_KEY, key):
            return []
        self._held.add(key)
        return [press(key)]

    def _release(self, key: int) -> list[Packet]:
        """Release a key, and what was adjusted for it."""
        if key not in self._held:
            return []
        self._held.discard(key)
        self._by_text.discard(key)
        mended = self._mend() if self._adjusted and self._adjusted[0] == key else []
        return [release(key), *mended]

    def _type(self, key: int, modifiers: tuple[int, ...], *, down: bool) -> list[Packet]:
        """Press or release a key for what it types."""
        if down:
            if key in self._held:
                return []
            return [*self._mend(), *self._adjust(key, modifiers), *self._press_for_text(key)]
        if key in self._held:
            return self._release(key)
        # Released as another character than it was pressed: Shift went up first. Nobody knows which
        # key it was, so none stays down.
        return [packet for one in sorted(self._by_text) for packet in self._release(one)]

    def _press_for_text(self, key: int) -> list[Packet]:
        packets = self._press(key)
        if packets:
            self._by_text.add(key)
        return packets

    def _adjust(self, key: int, wanted: tuple[int, ...]) -> list[Packet]:
        """Bring the modifiers to what a key takes."""
        held = self._held & LEVEL_KEYS
        shifted = bool(held & set(SHIFTS)), bool(set(wanted) & set(SHIFTS))
        lifted = [one for one in sorted(held) if one not in wanted and one not in SHIFTS]
        missing = [one for one in wanted if one not in held and one not in SHIFTS]
        if shifted == (True, False):
            lifted += sorted(held & set(SHIFTS))
        elif shifted == (False, True):
            missing = [one for one in wanted if one not in held]
        if not lifted and not missing:
            return []
        self._adjusted = (key, tuple(missing), tuple(lifted))
        return [*release_chord(lifted), *press_chord(missing)]

    def _mend(self) -> list[Packet]:
        """Undo what was adjusted: but for modifiers that the viewer has released meanwhile."""
        if self._adjusted is None:
            return []
        (_, pressed, lifted), self._adjusted = self._adjusted, None
        still = [one for one in lifted if one in self._held]
        return [*release_chord(pressed), *press_chord(still)]

    def _tap(self, strokes: Strokes) -> list[Packet]:
        """Press and release the keys of a character that takes several, with no modifier held."""
        held = sorted(self._held & LEVEL_KEYS)
        typed = [packet for group in to_packets(strokes) for packet in group]
        return [*self._mend(), *release_chord(held), *typed, *press_chord(held)]
