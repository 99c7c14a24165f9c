"""Keys as the bytes that a terminal sends: the layout of a keyboard of the United States.

`virtmesh input type` types with that layout unless told otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh_common.evdev import CODES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

KEYS = CODES["EV_KEY"]
RELEASED = 0
ROWS = (
    ("GRAVE 1 2 3 4 5 6 7 8 9 0 MINUS EQUAL", "`1234567890-=", "~!@#$%^&*()_+"),
    ("Q W E R T Y U I O P LEFTBRACE RIGHTBRACE BACKSLASH", "qwertyuiop[]\\", "QWERTYUIOP{}|"),
    ("A S D F G H J K L SEMICOLON APOSTROPHE", "asdfghjkl;'", 'ASDFGHJKL:"'),
    ("Z X C V B N M COMMA DOT SLASH SPACE", "zxcvbnm,./ ", "ZXCVBNM<>? "),
    ("KP7 KP8 KP9 KPMINUS KP4 KP5 KP6 KPPLUS", "789-456+", "789-456+"),
    ("KP1 KP2 KP3 KP0 KPDOT KPASTERISK KPSLASH", "1230.*/", "1230.*/"),
)
"""Names of keys, what they type, and what they type with Shift. The keypad has Num Lock on."""
CHARACTERS: Mapping[int, tuple[str, str]] = {
    KEYS[f"KEY_{name}"]: (typed, with_shift)
    for names, plain, shifted in ROWS
    for name, typed, with_shift in zip(names.split(), plain, shifted, strict=True)
}
SEQUENCES: Mapping[int, bytes] = {
    KEYS[f"KEY_{name}"]: sequence
    for name, sequence in {
        "ENTER": b"\r",
        "KPENTER": b"\r",
        "TAB": b"\t",
        "BACKSPACE": b"\x7f",
        "ESC": b"\x1b",
        "UP": b"\x1b[A",
        "DOWN": b"\x1b[B",
        "RIGHT": b"\x1b[C",
        "LEFT": b"\x1b[D",
        "HOME": b"\x1b[H",
        "END": b"\x1b[F",
        "INSERT": b"\x1b[2~",
        "DELETE": b"\x1b[3~",
        "PAGEUP": b"\x1b[5~",
        "PAGEDOWN": b"\x1b[6~",
    }.items()
}
"""What other keys send, as xterm does."""
SHIFTS = frozenset({KEYS["KEY_LEFTSHIFT"], KEYS["KEY_RIGHTSHIFT"]})
CONTROLS = frozenset({KEYS["KEY_LEFTCTRL"], KEYS["KEY_RIGHTCTRL"]})
MODIFIERS = SHIFTS | CONTROLS
CAPS_LOCK = KEYS["KEY_CAPSLOCK"]
CONTROL_MASK = 0x1F
"""What Ctrl leaves of a character from @ to _, in either case."""


class Keymap:
    """The keys of one keyboard. `caps` is True while Caps Lock is on."""

    def __init__(self) -> None:
        self.caps = False
        self._held: set[int] = set()

    def take(self, code: int, value: int) -> bytes:
        """Take a key that is pressed (1), repeated (2) or released (0); return what it sends."""
        if code in MODIFIERS:
            (self._held.discard if value == RELEASED else self._held.add)(code)
            return b""
        if value == RELEASED:
            return b""
        if code == CAPS_LOCK:
            self.caps ^= value == 1
            return b""
        if code in CHARACTERS:
            return self._type(*CHARACTERS[code])
        return SEQUENCES.get(code, b"")

    def release_all(self) -> None:
        """Forget which keys are held: their releases may have been missed."""
        self._held.clear()

    def _type(self, plain: str, shifted: str) -> bytes:
        """Return what a key of a character sends."""
        character = shifted if self._shifts(plain) else plain
        if self._held & CONTROLS:
            upper = character.upper()
            if character == " ":
                return b"\0"
            return bytes([ord(upper) & CONTROL_MASK]) if "@" <= upper <= "_" else b""
        return character.encode()

    def _shifts(self, plain: str) -> bool:
        """Say whether the other character of a key is meant."""
        return bool(self._held & SHIFTS) ^ (self.caps and plain.isalpha())


def all_keys() -> Iterator[int]:
    """Yield the codes of the keys that send something."""
    yield from CHARACTERS
    yield from SEQUENCES
