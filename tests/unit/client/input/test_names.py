"""Names that people type: keys, chords, buttons, lights, events."""

from __future__ import annotations

import pytest

from virtmesh_common.evdev import CODES
from virtmesh_common.input.errors import BadEvent, UnknownKey
from virtmesh_common.input.events import REPORT, Event, event, split_packets
from virtmesh_common.input.names import button_code, key_code, led_code, parse_chord

KEYS = CODES["EV_KEY"]


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("a", "KEY_A"),
        ("A", "KEY_A"),
        ("7", "KEY_7"),
        ("enter", "KEY_ENTER"),
        ("return", "KEY_ENTER"),
        ("ctrl", "KEY_LEFTCTRL"),
        ("altgr", "KEY_RIGHTALT"),
        ("f12", "KEY_F12"),
        ("KEY_VOLUMEUP", "KEY_VOLUMEUP"),
        ("volumeup", "KEY_VOLUMEUP"),
        ("Volume-Up", "KEY_VOLUMEUP"),
        ("page_down", "KEY_PAGEDOWN"),
        ("left", "KEY_LEFT"),
        ("btn_left", "BTN_LEFT"),
        ("-", "KEY_MINUS"),
        ("102nd", "KEY_102ND"),
    ],
)
def test_a_key_has_the_names_that_people_use(name: str, code: str) -> None:
    """The kernel's, with or without prefix, in any case, and the usual short ones."""
    assert key_code(name) == KEYS[code]


def test_every_key_and_button_can_be_named() -> None:
    """As the kernel names it."""
    for name, code in KEYS.items():
        assert key_code(name) == code


def test_a_button_of_the_mouse_comes_before_a_key_of_the_same_name() -> None:
    """Left is a button where buttons are meant."""
    assert button_code("left") == KEYS["BTN_LEFT"]
    assert button_code("KEY_LEFT") == KEYS["KEY_LEFT"]


def test_a_chord_is_in_the_order_of_pressing() -> None:
    """So that modifiers come first."""
    names = ("KEY_LEFTCTRL", "KEY_LEFTALT", "KEY_DELETE")
    assert parse_chord("ctrl+alt+delete") == tuple(KEYS[name] for name in names)


def test_lights_have_the_names_of_their_keys() -> None:
    """And those of the kernel."""
    assert led_code("capslock") == led_code("LED_CAPSL") == CODES["EV_LED"]["LED_CAPSL"]


@pytest.mark.parametrize("name", ["entr", "volumup", "delte"])
def test_a_name_that_is_nearly_right_gets_a_suggestion(name: str) -> None:
    """In words, and for programs."""
    with pytest.raises(UnknownKey, match="did you mean") as caught:
        key_code(name)
    assert caught.value.metadata["nearest"]


@pytest.mark.parametrize("text", ["", "ctrl+", "+a", "ctrl++a", "a+a", "ctrl+control", "no-such"])
def test_a_chord_that_makes_no_sense_is_refused(text: str) -> None:
    """Empty parts, keys that stand twice, and names that are none."""
    with pytest.raises(UnknownKey):
        parse_chord(text)


def test_an_event_has_the_name_of_its_code() -> None:
    """And a suggestion where it is misspelt."""
    assert event("REL_WHEEL", -1) == Event(2, 8, -1)
    with pytest.raises(BadEvent, match="REL_WHEEL"):
        event("REL_WHEL", 1)


def test_a_word_of_the_driver_is_taken_apart() -> None:
    """It is type << 48 | code << 32 | value, the value with its sign."""
    assert Event.unpack(2 << 48 | 8 << 32 | 0xFFFF_FFFF) == Event(2, 8, -1)


def test_reports_divide_events_into_packets() -> None:
    """One that is missing at the end is added by the device; one with a value is kept."""
    events: list[Event | tuple[str, int]]
    events = [("KEY_A", 1), REPORT, ("KEY_A", 0), Event(0, 0, 1), ("KEY_B", 1)]
    assert split_packets(events) == [
        (Event(1, KEYS["KEY_A"], 1),),
        (Event(1, KEYS["KEY_A"], 0), Event(0, 0, 1)),
        (Event(1, KEYS["KEY_B"], 1),),
    ]
