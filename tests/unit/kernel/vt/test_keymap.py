"""Keys as bytes: the judge is xkb's layout `us`."""

from __future__ import annotations

import pytest

from virtmesh.kernel.monitor.keys import SEQUENCES as EDITING
from virtmesh.kernel.vt.keymap import CHARACTERS, KEYS, Keymap, all_keys
from virtmesh_common.input.events import EV_KEY, Event
from virtmesh_common.input.text.decode import Decoder

SHIFT, CTRL, CAPS = KEYS["KEY_LEFTSHIFT"], KEYS["KEY_RIGHTCTRL"], KEYS["KEY_CAPSLOCK"]
NUM_LOCK = KEYS["KEY_NUMLOCK"]
KEYPAD = {code for name, code in KEYS.items() if name.startswith("KEY_KP")}


def typed(code: int, *, caps: bool, held: tuple[int, ...]) -> str:
    """Return what xkb says that a key types. Num Lock is on."""
    decoder = Decoder("us", caps=caps)
    keys = [(NUM_LOCK, 1), (NUM_LOCK, 0), *((key, 1) for key in held), (code, 1), (code, 0)]
    return decoder.read(Event(EV_KEY, key, value) for key, value in keys)


@pytest.mark.parametrize("caps", [False, True])
@pytest.mark.parametrize("held", [(), (SHIFT,)])
def test_keys_type_what_xkb_says(caps: bool, held: tuple[int, ...]) -> None:  # noqa: FBT001
    """Every key of a character, with Shift, with Caps Lock, and with both."""
    keys = Keymap()
    for key in (CAPS,) * caps:
        keys.take(key, 1)
        keys.take(key, 0)
    for key in held:
        keys.take(key, 1)
    # With Shift, xkb's keypad is one of cursor keys: here it stays one of digits.
    codes = [code for code in CHARACTERS if not (held and code in KEYPAD)]
    found = {code: keys.take(code, 1).decode() for code in codes}
    assert found == {code: typed(code, caps=caps, held=held) for code in codes}


def test_control_characters() -> None:
    """Ctrl with a letter, in either case; with a digit nothing, as far as it means nothing."""
    keys = Keymap()
    keys.take(CTRL, 1)
    assert keys.take(KEYS["KEY_C"], 1) == b"\x03"
    assert keys.take(KEYS["KEY_SPACE"], 1) == b"\0"
    assert keys.take(KEYS["KEY_LEFTBRACE"], 1) == b"\x1b"
    assert keys.take(KEYS["KEY_1"], 1) == b""
    keys.take(SHIFT, 1)
    assert keys.take(KEYS["KEY_C"], 1) == b"\x03"
    keys.take(CTRL, 0)
    assert keys.take(KEYS["KEY_C"], 1) == b"C"


def test_keys_that_are_repeated_or_forgotten() -> None:
    """A repeated key types again, but Caps Lock does not; a missed release is made up for."""
    keys = Keymap()
    assert keys.take(KEYS["KEY_A"], 2) == b"a"
    keys.take(CAPS, 1)
    keys.take(CAPS, 2)
    assert keys.caps
    keys.take(SHIFT, 1)
    keys.release_all()
    assert keys.take(KEYS["KEY_A"], 1) == b"A"
    assert keys.take(0xFFFF, 1) == b""


def test_editing_keys_are_those_of_the_monitor() -> None:
    """What begins with ESC [ is known there, or means nothing: Insert and the pages."""
    sent = {Keymap().take(code, 1) for code in all_keys()}
    sequences = {one.decode()[1:] for one in sent if one.startswith(b"\x1b[")}
    assert sequences - EDITING.keys() == {"[2~", "[5~", "[6~"}
