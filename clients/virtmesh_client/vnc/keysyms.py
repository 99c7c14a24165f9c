"""Keysyms of keys that type no character, and the keys that they are (X11/keysymdef.h)."""

from __future__ import annotations

from virtmesh_common.input.names import KEYS
from virtmesh_common.input.text import xkb

NAMES = {
    0xFE03: "KEY_RIGHTALT", 0xFE20: "KEY_TAB", 0xFF08: "KEY_BACKSPACE", 0xFF09: "KEY_TAB",
    0xFF0A: "KEY_LINEFEED", 0xFF0D: "KEY_ENTER", 0xFF13: "KEY_PAUSE", 0xFF14: "KEY_SCROLLLOCK",
    0xFF15: "KEY_SYSRQ", 0xFF1B: "KEY_ESC", 0xFF20: "KEY_COMPOSE",
    0xFF50: "KEY_HOME", 0xFF51: "KEY_LEFT", 0xFF52: "KEY_UP", 0xFF53: "KEY_RIGHT",
    0xFF54: "KEY_DOWN", 0xFF55: "KEY_PAGEUP", 0xFF56: "KEY_PAGEDOWN", 0xFF57: "KEY_END",
    0xFF58: "KEY_HOME", 0xFF61: "KEY_SYSRQ", 0xFF63: "KEY_INSERT", 0xFF67: "KEY_COMPOSE",
    0xFF6B: "KEY_PAUSE", 0xFF7E: "KEY_RIGHTALT", 0xFF7F: "KEY_NUMLOCK",
    0xFF8D: "KEY_KPENTER", 0xFF95: "KEY_KP7", 0xFF96: "KEY_KP4", 0xFF97: "KEY_KP8",
    0xFF98: "KEY_KP6", 0xFF99: "KEY_KP2", 0xFF9A: "KEY_KP9", 0xFF9B: "KEY_KP3",
    0xFF9C: "KEY_KP1", 0xFF9D: "KEY_KP5", 0xFF9E: "KEY_KP0", 0xFF9F: "KEY_KPDOT",
    0xFFAA: "KEY_KPASTERISK", 0xFFAB: "KEY_KPPLUS", 0xFFAC: "KEY_KPCOMMA", 0xFFAD: "KEY_KPMINUS",
    0xFFAE: "KEY_KPDOT", 0xFFAF: "KEY_KPSLASH", 0xFFBD: "KEY_KPEQUAL",
    **{0xFFB0 + number: f"KEY_KP{number}" for number in range(10)},
    **{0xFFBE + number: f"KEY_F{number + 1}" for number in range(24)},
    0xFFE1: "KEY_LEFTSHIFT", 0xFFE2: "KEY_RIGHTSHIFT", 0xFFE3: "KEY_LEFTCTRL",
    0xFFE4: "KEY_RIGHTCTRL", 0xFFE5: "KEY_CAPSLOCK", 0xFFE7: "KEY_LEFTALT",
    0xFFE8: "KEY_RIGHTALT", 0xFFE9: "KEY_LEFTALT", 0xFFEA: "KEY_RIGHTALT",
    0xFFEB: "KEY_LEFTMETA", 0xFFEC: "KEY_RIGHTMETA", 0xFFFF: "KEY_DELETE",
}  # fmt: skip
"""Meta is what some viewers send for Alt, Super is the key with the logo."""
KEY_BY_KEYSYM = {keysym: KEYS[name] for keysym, name in NAMES.items()}
CAPS_LOCK = 0xFFE5
"""It is left out: the keysyms that follow say what it has done."""
LATIN_1 = (range(0x20, 0x7F), range(0xA0, 0x100))
"""Keysyms that are the number of their character."""
OLD_END = 0xFD00
"""End of the keysyms of other scripts, which have numbers of their own; libxkbcommon knows them."""
UNICODE = 0x0100_0000
"""Added to the number of a character, for all others."""
CODE_MAX = 0x10FFFF
SURROGATES = range(0xD800, 0xE000)


def to_character(keysym: int) -> str:
    """Return the character that a keysym types; nothing if there is none that is known."""
    if any(keysym in part for part in LATIN_1):
        return chr(keysym)
    code = keysym - UNICODE
    if 0 <= code <= CODE_MAX:
        return chr(code) if code >= ord(" ") and code not in SURROGATES else ""
    try:
        found = xkb.keysym_character(keysym) if keysym < OLD_END else ""
    except OSError:
        return ""
    return found if found >= " " else ""
