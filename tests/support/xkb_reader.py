"""A keyboard of another house: evdev keys in, text out, by libxkbcommon alone.

It shares no code with the product, and runs as a process of its own. Each line of standard input is
a JSON object, and so is each answer:

    {"layout": "de", "variant": "", "locks": ["Lock"], "keys": [[30, 1], [30, 0]]}
        -> {"text": "A", "clean": true}
    {"layout": "de", "variant": "", "list": [1, 2, ...]}
        -> {"texts": {"a": "", "ẞ": "Caps Lock", ...}}

The second asks for everything that the keymap holds: all groups and levels of all keys, and what
they compose by the text of the compose file. With each stands what is in its way: nothing, or a
reason. The list is of the keys that the keyboard has.
"""

from __future__ import annotations

import ctypes
import json
import re
import sys
from ctypes import POINTER, c_char_p, c_int, c_size_t, c_uint32, c_void_p
from pathlib import Path
from typing import Any

LOCALE = b"en_US.UTF-8"
COMPOSE_FILE = Path("/usr/share/X11/locale/en_US.UTF-8/Compose")
LINE = re.compile(r'^\s*((?:<\w+>\s*)+):\s*"((?:[^"\\]|\\.)*)"')
COMPOSED, NOTHING = 2, 0
ENDS = "a modifier that ends the composition"
OFFSET = 8
LOCKS = (("Lock", "Caps Lock"), ("Mod2", "Num Lock"))
COMMANDS = ("Control_L", "Control_R", "Alt_L", "Alt_R", "Meta_L", "Meta_R", "Super_L", "Super_R")
"""Keys that make a command of a letter."""


class Names(ctypes.Structure):
    """struct xkb_rule_names."""

    _fields_ = [(name, c_char_p) for name in ("rules", "model", "layout", "variant", "options")]


def bind() -> ctypes.CDLL:
    """Declare the functions that are used."""
    xkb = ctypes.CDLL("libxkbcommon.so.0")
    masks, syms = POINTER(c_uint32), POINTER(POINTER(c_uint32))
    for name, result, *arguments in (
        ("context_new", c_void_p, c_int),
        ("keymap_new_from_names", c_void_p, c_void_p, POINTER(Names), c_int),
        ("keymap_unref", None, c_void_p),
        ("keymap_mod_get_index", c_uint32, c_void_p, c_char_p),
        ("keymap_num_layouts_for_key", c_uint32, c_void_p, c_uint32),
        ("keymap_num_levels_for_key", c_uint32, c_void_p, c_uint32, c_uint32),
        ("keymap_key_get_mods_for_level", c_size_t, c_void_p, *[c_uint32] * 3, masks, c_size_t),
        ("keymap_key_get_syms_by_level", c_int, c_void_p, *[c_uint32] * 3, syms),
        ("keysym_to_utf8", c_int, c_uint32, c_char_p, c_size_t),
        ("keysym_from_name", c_uint32, c_char_p, c_int),
        ("keysym_get_name", c_int, c_uint32, c_char_p, c_size_t),
        ("state_new", c_void_p, c_void_p),
        ("state_unref", None, c_void_p),
        ("state_update_mask", c_int, c_void_p, *[c_uint32] * 6),
        ("state_update_key", c_int, c_void_p, c_uint32, c_int),
        ("state_serialize_mods", c_uint32, c_void_p, c_int),
        ("state_key_get_one_sym", c_uint32, c_void_p, c_uint32),
        ("state_key_get_level", c_uint32, c_void_p, c_uint32, c_uint32),
        ("state_key_get_utf8", c_int, c_void_p, c_uint32, c_char_p, c_size_t),
        ("compose_table_new_from_locale", c_void_p, c_void_p, c_char_p, c_int),
        ("compose_state_new", c_void_p, c_void_p, c_int),
        ("compose_state_reset", None, c_void_p),
        ("compose_state_feed", c_int, c_void_p, c_uint32),
        ("compose_state_get_status", c_int, c_void_p),
        ("compose_state_get_utf8", c_int, c_void_p, c_char_p, c_size_t),
    ):
        function = getattr(xkb, f"xkb_{name}")
        function.restype, function.argtypes = result, arguments
    return xkb


XKB = bind()
CONTEXT = XKB.xkb_context_new(0)
COMPOSE = XKB.xkb_compose_state_new(XKB.xkb_compose_table_new_from_locale(CONTEXT, LOCALE, 0), 0)


def text_of(function: object, *arguments: object) -> str:
    """Call a function that fills a buffer."""
    buffer = ctypes.create_string_buffer(256)
    function(*arguments, buffer, len(buffer))  # type: ignore[operator]
    return buffer.value.decode()


def compile_keymap(layout: str, variant: str) -> int:
    """Compile a keymap; 0 when that fails."""
    names = Names(b"evdev", b"pc105", layout.encode(), variant.encode(), None)
    return XKB.xkb_keymap_new_from_names(CONTEXT, ctypes.byref(names), 0) or 0


def modifier(keymap: int, name: str) -> int:
    """Return the mask of a modifier; 0 when there is none."""
    index = XKB.xkb_keymap_mod_get_index(keymap, name.encode())
    return 0 if index == 0xFFFFFFFF else 1 << index


def read(keymap: int, locks: list[str], keys: list[list[int]]) -> dict[str, object]:
    """Return what keys type, and whether a hand could do so and left the keyboard as it was."""
    state = XKB.xkb_state_new(keymap)
    locked = 0
    for name in locks:
        locked |= modifier(keymap, name)
    XKB.xkb_state_update_mask(state, 0, 0, locked, 0, 0, 0)
    before = XKB.xkb_state_serialize_mods(state, 8)
    XKB.xkb_compose_state_reset(COMPOSE)
    text = ""
    clean = True
    down: set[int] = set()
    for code, value in keys:
        # A hand can press what is up, and release what is down.
        clean &= (code in down) != bool(value)
        (down.add if value else down.discard)(code)
        if value:
            sym = XKB.xkb_state_key_get_one_sym(state, code + OFFSET)
            if XKB.xkb_compose_state_feed(COMPOSE, sym):
                status = XKB.xkb_compose_state_get_status(COMPOSE)
                if status == COMPOSED:
                    text += text_of(XKB.xkb_compose_state_get_utf8, COMPOSE)
                elif status == NOTHING:
                    text += text_of(XKB.xkb_state_key_get_utf8, state, code + OFFSET)
        XKB.xkb_state_update_key(state, code + OFFSET, value)
    after = XKB.xkb_state_serialize_mods(state, 8)
    XKB.xkb_state_unref(state)
    return {"text": text, "clean": clean and after == before}


class Modifiers:
    """What can be held on a keyboard, as masks."""

    def __init__(self, keymap: int, keys: set[int]) -> None:
        self.held = self.quiet = 0
        """What any key holds; what keys hold that a composition does not notice."""
        self.by: dict[int, set[int]] = {}
        """The keys that hold each bit."""
        edge: list[tuple[int, ...]] = [()]
        for _ in range(3):
            edge = [
                (*before, key) for before in edge for key in keys if self.add(keymap, before, key)
            ]
            edge = edge[:40]

    def add(self, keymap: int, before: tuple[int, ...], key: int) -> bool:
        """Press a key after others, and note what it holds; True if that is something new."""
        state = XKB.xkb_state_new(keymap)
        for other in before:
            XKB.xkb_state_update_key(state, other + OFFSET, 1)
        masks = [XKB.xkb_state_serialize_mods(state, part) for part in (1, 4)]
        sym = XKB.xkb_state_key_get_one_sym(state, key + OFFSET)
        XKB.xkb_state_update_key(state, key + OFFSET, 1)
        held, locked = (XKB.xkb_state_serialize_mods(state, part) for part in (1, 4))
        XKB.xkb_state_unref(state)
        if held == masks[0] or locked != masks[1]:
            return False
        if text_of(XKB.xkb_keysym_get_name, sym) in COMMANDS:
            return False
        XKB.xkb_compose_state_reset(COMPOSE)
        new = held & ~self.held
        for bit in range(32):
            if held & ~masks[0] & 1 << bit:
                self.by.setdefault(bit, set()).add(key)
        self.held |= held
        if not XKB.xkb_compose_state_feed(COMPOSE, sym):
            self.quiet |= held & ~masks[0]
        return bool(new)


def list_texts(keymap: int, keys: set[int]) -> dict[str, str]:
    """Return each text that the keymap holds, and what is in its way."""
    modifiers = Modifiers(keymap, keys)
    first: dict[int, str] = {}
    later: dict[int, str] = {}
    pointer = POINTER(c_uint32)()
    masks = (c_uint32 * 64)()
    for code in range(OFFSET, 256):
        for group in range(XKB.xkb_keymap_num_layouts_for_key(keymap, code)):
            for level in range(XKB.xkb_keymap_num_levels_for_key(keymap, code, group)):
                place = (keymap, code, group, level)
                if XKB.xkb_keymap_key_get_syms_by_level(*place, ctypes.byref(pointer)) != 1:
                    continue
                count = XKB.xkb_keymap_key_get_mods_for_level(*place, masks, len(masks))
                usable = [mask for mask in masks[:count] if chooses(*place, mask)]
                own = sum(1 << bit for bit, by in modifiers.by.items() if by == {code - OFFSET})
                reason = way_to(keymap, usable, modifiers.held & ~own)
                if group:
                    reason = "another group"
                if code - OFFSET not in keys:
                    reason = "a key that the keyboard lacks"
                noisy = reason or way_to(keymap, usable, modifiers.quiet & ~own)
                note(first, pointer[0], reason)
                note(later, pointer[0], reason or (noisy and ENDS))
    return compose_all(first, later)


def chooses(keymap: int, code: int, group: int, level: int, mask: int) -> bool:
    """Say whether modifiers choose a level: an entry of the type may hide another."""
    state = XKB.xkb_state_new(keymap)
    XKB.xkb_state_update_mask(state, mask, 0, 0, 0, 0, group)
    found = XKB.xkb_state_key_get_level(state, code, group)
    XKB.xkb_state_unref(state)
    return bool(found == level)


def note(reasons: dict[Any, str], what: object, reason: str) -> None:
    """Note a reason, unless there is a way without one."""
    if reasons.get(what, "-"):
        reasons[what] = reason


def way_to(keymap: int, masks: list[int], held: int) -> str:
    """Return what is in the way of a level: nothing, if one of its masks can be held."""
    reasons = ["a level that no modifiers choose, or those of the key itself"]
    for mask in masks:
        left = mask & ~held
        locks = [reason for name, reason in LOCKS if left & modifier(keymap, name)]
        for name, _ in LOCKS:
            left &= ~modifier(keymap, name)
        reasons.append("a modifier that no key holds" if left else " and ".join(locks))
    return min(reasons, key=len)


def compose_all(first: dict[int, str], later: dict[int, str]) -> dict[str, str]:
    """Add what the keysyms compose, by the text of the compose file."""
    sequences = compose_sequences()
    begins = {sequence[0] for sequence in sequences}
    texts: dict[str, str] = {}
    for sym, reason in first.items():
        text = text_of(XKB.xkb_keysym_to_utf8, sym)
        if sym not in begins and text:
            note(texts, text, reason)
    for sequence, text in sequences.items():
        if all(sym in first for sym in sequence):
            reasons = [first[sequence[0]], *(later[sym] for sym in sequence[1:])]
            note(texts, text, max(reasons, key=len))
    return texts


def compose_sequences() -> dict[tuple[int, ...], str]:
    """Read the compose file: a later line wins, and so does a longer sequence."""
    found: dict[tuple[int, ...], str] = {}
    for line in COMPOSE_FILE.read_text(encoding="utf-8").splitlines():
        match = LINE.match(line)
        if match:
            names = re.findall(r"<(\w+)>", match[1])
            text = re.sub(r"\\(.)", r"\1", match[2])
            found[tuple(XKB.xkb_keysym_from_name(name.encode(), 0) for name in names)] = text
    longer = {sequence[:end] for sequence in found for end in range(1, len(sequence))}
    return {sequence: text for sequence, text in found.items() if sequence not in longer}


def main() -> None:
    """Answer each line."""
    for line in sys.stdin:
        asked = json.loads(line)
        keymap = compile_keymap(asked["layout"], asked["variant"])
        if "list" in asked:
            answer: dict[str, object] = {"texts": list_texts(keymap, set(asked["list"]))}
        else:
            answer = read(keymap, asked["locks"], asked["keys"])
        XKB.xkb_keymap_unref(keymap)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
