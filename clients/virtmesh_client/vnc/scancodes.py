"""Scan codes of set 1, as QEMU's extended key event has them, and the keys that they are.

Codes up to 0x58 are the numbers that Linux gave its keys. A code that follows 0xE0 has its high bit
set (registry: QEMU Extended Key Event). Names are those of linux/input-event-codes.h.
"""

from __future__ import annotations

from virtmesh_common.input.names import KEYS

SAME_MAX = 0x53
"""The last of the codes that are the same in both, from 1 on."""
NAMES = {
    0x54: "KEY_SYSRQ", 0x56: "KEY_102ND", 0x57: "KEY_F11", 0x58: "KEY_F12",
    0x59: "KEY_KPEQUAL", 0x5A: "KEY_F20", 0x5D: "KEY_F13", 0x5E: "KEY_F14", 0x5F: "KEY_F15",
    0x55: "KEY_F16", 0x6D: "KEY_F23", 0x6F: "KEY_F24", 0x70: "KEY_KATAKANAHIRAGANA",
    0x71: "KEY_HANJA", 0x72: "KEY_HANGEUL", 0x73: "KEY_RO", 0x74: "KEY_F21",
    0x76: "KEY_ZENKAKUHANKAKU", 0x77: "KEY_HIRAGANA", 0x78: "KEY_KATAKANA", 0x79: "KEY_HENKAN",
    0x7B: "KEY_MUHENKAN", 0x7D: "KEY_YEN", 0x7E: "KEY_KPCOMMA",
    0x90: "KEY_PREVIOUSSONG", 0x99: "KEY_NEXTSONG", 0x9C: "KEY_KPENTER", 0x9D: "KEY_RIGHTCTRL",
    0xA0: "KEY_MUTE", 0xA1: "KEY_CALC", 0xA2: "KEY_PLAYPAUSE", 0xA4: "KEY_STOPCD",
    0xAE: "KEY_VOLUMEDOWN", 0xB0: "KEY_VOLUMEUP", 0xB2: "KEY_HOMEPAGE", 0xB5: "KEY_KPSLASH",
    0xB7: "KEY_SYSRQ", 0xB8: "KEY_RIGHTALT", 0xC6: "KEY_PAUSE", 0xC7: "KEY_HOME", 0xC8: "KEY_UP",
    0xC9: "KEY_PAGEUP", 0xCB: "KEY_LEFT", 0xCD: "KEY_RIGHT", 0xCF: "KEY_END", 0xD0: "KEY_DOWN",
    0xD1: "KEY_PAGEDOWN", 0xD2: "KEY_INSERT", 0xD3: "KEY_DELETE", 0xDB: "KEY_LEFTMETA",
    0xDC: "KEY_RIGHTMETA", 0xDD: "KEY_COMPOSE", 0xDE: "KEY_POWER", 0xDF: "KEY_SLEEP",
    0xE3: "KEY_WAKEUP", 0xE5: "KEY_SEARCH", 0xE6: "KEY_BOOKMARKS", 0xE7: "KEY_REFRESH",
    0xE8: "KEY_STOP", 0xE9: "KEY_FORWARD", 0xEA: "KEY_BACK", 0xEB: "KEY_COMPUTER",
    0xEC: "KEY_MAIL", 0xED: "KEY_MEDIA",
}  # fmt: skip
KEY_BY_SCANCODE = {
    **{code: code for code in range(1, SAME_MAX + 1)},
    **{code: KEYS[name] for code, name in NAMES.items() if name in KEYS},
}
