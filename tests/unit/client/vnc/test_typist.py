"""Keys of viewers, as the keyboard of the machine types them."""

from __future__ import annotations

from virtmesh_client.input.models import InputInfo
from virtmesh_client.vnc.messages import KeyEvent
from virtmesh_client.vnc.typist import Typist
from virtmesh_common.evdev import CODES
from virtmesh_common.input.events import EV_KEY, Event

SHIFT, CONTROL, CAPS_LOCK, LEVEL_3 = 0xFFE1, 0xFFE3, 0xFFE5, 0xFE03
KEYBOARD = InputInfo(
    name="keyboard",
    serial="",
    ids=(6, 0, 0, 0),
    personality="keyboard",
    properties=(),
    capabilities={EV_KEY: frozenset(CODES["EV_KEY"].values()) & frozenset(range(1, 128))},
    axes={},
    leds_on=(),
)


Presses = list[tuple[int | str, bool]]


def typed(layout: str, *events: tuple[int | str, bool]) -> list[str]:
    """Return the events of the keyboard for keysyms, or characters, that go down or up."""
    typist = Typist(KEYBOARD, layout)
    found: list[str] = []
    for what, down in events:
        keysym = ord(what) if isinstance(what, str) else what
        for step in typist.translate(KeyEvent(down=down, keysym=keysym)):
            assert not isinstance(step, str)
            found += [f"{'+' if one.value else '-'}{name(one)}" for one in step]
    return found


def name(event: Event) -> str:
    """Return the short name of a key."""
    return event.code_name.removeprefix("KEY_")


def tap(what: int | str) -> Presses:
    """Return a key that goes down and up."""
    return [(what, True), (what, False)]


def test_the_viewer_holds_shift() -> None:
    """As on the guest's layout: nothing is added."""
    events: Presses = [(SHIFT, True), *tap("A"), (SHIFT, False)]
    assert typed("us", *events) == ["+LEFTSHIFT", "+A", "-A", "-LEFTSHIFT"]


def test_shift_is_lifted_for_a_key_that_takes_none() -> None:
    """A German viewer types the slash with Shift, an American guest without."""
    events: Presses = [(SHIFT, True), *tap("/"), (SHIFT, False)]
    wanted = ["+LEFTSHIFT", "-LEFTSHIFT", "+SLASH", "-SLASH", "+LEFTSHIFT", "-LEFTSHIFT"]
    assert typed("us", *events) == wanted


def test_shift_that_was_lifted_and_went_up() -> None:
    """It is not pressed again."""
    events: Presses = [(SHIFT, True), ("/", True), (SHIFT, False), ("/", False)]
    assert typed("us", *events) == ["+LEFTSHIFT", "-LEFTSHIFT", "+SLASH", "-LEFTSHIFT", "-SLASH"]


def test_the_next_key_comes_before_the_last_is_up() -> None:
    """What was pressed for the first is undone before the second."""
    events: Presses = [("A", True), ("b", True), ("A", False), ("b", False)]
    assert typed("us", *events) == ["+LEFTSHIFT", "+A", "-LEFTSHIFT", "+B", "-A", "-B"]


def test_a_key_that_goes_up_as_another_character() -> None:
    """Shift went up first: A goes up as a, and the slash as 7; no key stays down."""
    events: Presses = [(SHIFT, True), ("A", True), (SHIFT, False), ("a", False)]
    assert typed("us", *events) == ["+LEFTSHIFT", "+A", "-LEFTSHIFT", "-A"]
    events = [("/", True), ("7", False)]
    assert typed("us", *events) == ["+SLASH", "-SLASH"]


def test_the_third_level() -> None:
    """The at sign takes AltGr on a German guest, and Shift on an American one."""
    assert typed("de", *tap("@")) == ["+RIGHTALT", "+Q", "-Q", "-RIGHTALT"]
    assert typed("us", *tap("@")) == ["+LEFTSHIFT", "+2", "-2", "-LEFTSHIFT"]
    events: Presses = [(LEVEL_3, True), *tap("@"), (LEVEL_3, False)]
    assert typed("de", *events) == ["+RIGHTALT", "+Q", "-Q", "-RIGHTALT"]


def test_what_takes_two_keys() -> None:
    """A dead key and a letter: both are tapped when the key goes down."""
    assert typed("de", *tap("é")) == ["+EQUAL", "-EQUAL", "+E", "-E"]


def test_keysyms_of_other_scripts() -> None:
    """By their old numbers, and by those of Unicode."""
    cyrillic_a, euro = 0x6C1, 0x20AC
    assert typed("ru", *tap(cyrillic_a)) == ["+F", "-F"]
    assert typed("ru", *tap(0x0100_0430)) == ["+F", "-F"]
    assert typed("de", *tap(euro)) == ["+RIGHTALT", "+E", "-E", "-RIGHTALT"]


def test_control() -> None:
    """It is held beside the key of a character."""
    events: Presses = [(CONTROL, True), *tap("c"), (CONTROL, False)]
    assert typed("us", *events) == ["+LEFTCTRL", "+C", "-C", "-LEFTCTRL"]


def test_what_is_left_out() -> None:
    """Caps Lock, whose outcome the keysyms say; repeats; what no key types; odd numbers."""
    odd = (0, 0xFFFF_FFFF, 0x0100_D800, 0x0111_0000, 0xFE52, 0x0100_0007)
    events = [event for what in (CAPS_LOCK, "й", *odd) for event in tap(what)]
    assert typed("us", *events) == []
    assert typed("us", ("a", True), ("a", True), ("a", False), ("a", False)) == ["+A", "-A"]


def test_every_key_of_the_tables_exists() -> None:
    """Scan codes and keysyms are of keys that Linux has."""
    from virtmesh_client.vnc.keysyms import KEY_BY_KEYSYM  # noqa: PLC0415
    from virtmesh_client.vnc.scancodes import KEY_BY_SCANCODE, NAMES  # noqa: PLC0415

    known = set(CODES["EV_KEY"].values())
    assert set(KEY_BY_KEYSYM.values()) <= known
    assert set(KEY_BY_SCANCODE.values()) <= known
    assert set(NAMES) <= set(KEY_BY_SCANCODE)
