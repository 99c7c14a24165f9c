"""Names of keys, buttons and LEDs, and chords of keys.

The name of a key is that of linux/input-event-codes.h. The prefix is optional. Case, hyphens and
underscores do not matter: "KEY_VOLUMEUP", "volumeup" and "volume-up" are the same key. ALIASES
lists more names.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from virtmesh_common.evdev import CODES
from virtmesh_common.input.errors import UnknownKey

if TYPE_CHECKING:
    from collections.abc import Iterator

KEYS = CODES["EV_KEY"]
SUGGESTIONS = 3

ALIASES = {
    "ctrl": "KEY_LEFTCTRL",
    "control": "KEY_LEFTCTRL",
    "lctrl": "KEY_LEFTCTRL",
    "rctrl": "KEY_RIGHTCTRL",
    "shift": "KEY_LEFTSHIFT",
    "lshift": "KEY_LEFTSHIFT",
    "rshift": "KEY_RIGHTSHIFT",
    "alt": "KEY_LEFTALT",
    "lalt": "KEY_LEFTALT",
    "ralt": "KEY_RIGHTALT",
    "altgr": "KEY_RIGHTALT",
    "super": "KEY_LEFTMETA",
    "win": "KEY_LEFTMETA",
    "windows": "KEY_LEFTMETA",
    "cmd": "KEY_LEFTMETA",
    "meta": "KEY_LEFTMETA",
    "menu": "KEY_COMPOSE",
    "return": "KEY_ENTER",
    "escape": "KEY_ESC",
    "del": "KEY_DELETE",
    "ins": "KEY_INSERT",
    "pgup": "KEY_PAGEUP",
    "pgdn": "KEY_PAGEDOWN",
    "pgdown": "KEY_PAGEDOWN",
    "bksp": "KEY_BACKSPACE",
    "caps": "KEY_CAPSLOCK",
    "num": "KEY_NUMLOCK",
    "scroll": "KEY_SCROLLLOCK",
    "print": "KEY_SYSRQ",
    "printscreen": "KEY_SYSRQ",
    "prtsc": "KEY_SYSRQ",
    "break": "KEY_PAUSE",
    "plus": "KEY_KPPLUS",
    "dash": "KEY_MINUS",
    "equals": "KEY_EQUAL",
    "period": "KEY_DOT",
    "quote": "KEY_APOSTROPHE",
    "backtick": "KEY_GRAVE",
    "tilde": "KEY_GRAVE",
    "less": "KEY_102ND",
    " ": "KEY_SPACE",
    "-": "KEY_MINUS",
    "=": "KEY_EQUAL",
    "[": "KEY_LEFTBRACE",
    "]": "KEY_RIGHTBRACE",
    ";": "KEY_SEMICOLON",
    "'": "KEY_APOSTROPHE",
    "`": "KEY_GRAVE",
    "\\": "KEY_BACKSLASH",
    ",": "KEY_COMMA",
    ".": "KEY_DOT",
    "/": "KEY_SLASH",
}
LED_ALIASES = {"numlock": "LED_NUML", "capslock": "LED_CAPSL", "scrolllock": "LED_SCROLLL"}


def normalize(name: str) -> str:
    """Return a name in lower case, without hyphens and underscores."""
    return name.lower() if len(name) == 1 else name.lower().replace("_", "").replace("-", "")


def name_variants(prefix: str, codes: dict[str, int] = KEYS) -> Iterator[tuple[str, int]]:
    """Yield the names of all codes with a prefix, each with the prefix and without it."""
    for name, code in codes.items():
        if name.startswith(prefix):
            yield normalize(name), code
            yield normalize(name.removeprefix(prefix)), code


KEY_BY_NAME = {
    **dict(name_variants("BTN_")),
    **dict(name_variants("KEY_")),
    **{alias: KEYS[name] for alias, name in ALIASES.items()},
}
"""If a key and a button share a name, such as "left", the name means the key."""
BUTTON_BY_NAME = {**KEY_BY_NAME, **dict(name_variants("BTN_"))}
LED_BY_NAME = {
    **dict(name_variants("LED_", CODES["EV_LED"])),
    **{normalize(name): CODES["EV_LED"][code] for name, code in LED_ALIASES.items()},
}


def key_code(name: str) -> int:
    """Return the code of a key. Errors: UnknownKey, with the nearest names."""
    return look_up(name, KEY_BY_NAME, "key")


def button_code(name: str) -> int:
    """Return the code of a button, such as "left". Errors: UnknownKey."""
    return look_up(name, BUTTON_BY_NAME, "button")


def led_code(name: str) -> int:
    """Return the code of an LED, such as "capslock". Errors: UnknownKey."""
    return look_up(name, LED_BY_NAME, "LED")


def look_up(name: str, known: dict[str, int], what: str) -> int:
    """Return the code of a name. Errors: UnknownKey."""
    code = known.get(normalize(name))
    if code is not None:
        return code
    near = difflib.get_close_matches(normalize(name), known, SUGGESTIONS)
    hint = f": did you mean {' or '.join(near)}?" if near else ""
    message = f"no {what} is named {name!r}{hint}"
    raise UnknownKey(message, name=name, nearest=",".join(near))


def parse_chord(text: str) -> tuple[int, ...]:
    """Return the codes of a chord, such as "ctrl+alt+delete", in the order of pressing.

    Errors: UnknownKey, also for an empty name and for a key that occurs twice.
    """
    names = text.split("+")
    codes: list[int] = []
    for name in names:
        if not name:
            raise UnknownKey(
                f"{text!r} has an empty key name: write a chord as ctrl+alt+delete, and the key"
                " + as plus",
                name=text,
            )
        code = key_code(name)
        if code in codes:
            raise UnknownKey(f"{text!r} has the key {name!r} twice: name each key once", name=name)
        codes.append(code)
    return tuple(codes)
