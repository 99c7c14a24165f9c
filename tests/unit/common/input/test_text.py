"""Text by keyboard layout, decoded by an xkb state of its own, as a driver's side would."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from virtmesh_common.evdev import CODES, name_of
from virtmesh_common.input.errors import UntypableText
from virtmesh_common.input.events import EV_KEY
from virtmesh_common.input.text import layouts, xkb
from virtmesh_common.input.text.decode import Decoder
from virtmesh_common.input.text.keyboard import Keyboard
from virtmesh_common.input.text.layout import Layout, to_packets
from virtmesh_common.input.text.plan import TextOptions, plan_text

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from virtmesh_common.input.events import Packet

KEYS = frozenset(code for name, code in CODES["EV_KEY"].items() if name.startswith("KEY_"))
KEY = CODES["EV_KEY"]


def decode(name: str, groups: Iterable[Iterable[Packet]], *, caps: bool = False) -> str:
    """Read packets as the driver's side would."""
    events = [event for group in groups for packet in group for event in packet]
    return Decoder(name, caps=caps).read(events)


def layout_of(name: str, **lights: bool) -> Layout:
    """Return a layout of a keyboard with all keys."""
    leds = frozenset(f"LED_{led.upper()}" for led, on in lights.items() if on)
    return Layout(name, keyboard=Keyboard(KEYS, leds))


@pytest.mark.parametrize("caps", [False, True], ids=["plain", "caps-lock"])
@pytest.mark.parametrize("name", ["us", "de", "fr", "gb", "es", "gr", "ru", "ch", "pl", "cz"])
def test_every_character_of_a_layout_arrives(name: str, *, caps: bool) -> None:
    """All printable ones, dead keys and AltGr among them, whatever Caps Lock says."""
    layout = layout_of(name, capsl=caps)
    text = "".join(letter for letter in layout.strokes if letter.isprintable())
    assert len(text) > 90
    assert decode(name, to_packets(layout.spell(text)), caps=caps) == text


@pytest.mark.parametrize(("name", "variant"), [("de", "neo"), ("ca", "multix")])
def test_a_modifier_that_ends_a_composition_is_not_pressed_in_one(name: str, variant: str) -> None:
    """ISO_Level5_Shift makes libxkbcommon 1.5 forget the dead key: another letter would appear."""
    layout = Layout(name, variant, keyboard=Keyboard(KEYS))
    text = "".join(letter for letter in layout.strokes if letter.isprintable())
    events = [
        event for group in to_packets(layout.spell(text)) for packet in group for event in packet
    ]
    assert Decoder(name, variant).read(events) == text


@pytest.mark.parametrize(
    ("name", "variant", "text"),
    [
        pytest.param("de", "T3", "Ǿ", id="AltGr before Shift"),
        pytest.param("de", "T3", "¼½", id="a modifier for one key, made of two"),
        pytest.param("gr", "", "ευφυΐα", id="two dead keys and a letter"),
        pytest.param("us", "intl", "ǘẤé", id="two dead keys of an American"),
        pytest.param("cm", "azerty", "ɛŋ", id="a key that latches AltGr"),
        pytest.param("ara", "", "لا", id="two letters of one key"),
    ],
)
def test_what_a_plan_types_is_what_was_asked(name: str, variant: str, text: str) -> None:
    """As another keyboard reads it, which knows the packets alone."""
    groups = Layout(name, variant, keyboard=Keyboard(KEYS)).type(text)
    events = [event for group in groups for packet in group for event in packet]
    assert Decoder(name, variant).read(events) == text


def test_a_plan_that_types_something_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is sent, with the character and what would have appeared."""
    layout = layout_of("us")
    monkeypatch.setitem(layout._direct, "a", layout.spell("b"))
    with pytest.raises(UntypableText, match=r"would type 'b' for 'a' \(U\+0061\)"):
        layout.type("xa")


def test_text_is_typed_around_keys_that_are_held() -> None:
    """A key that somebody holds can't be pressed, and a modifier changes what appears."""
    layout = Layout("us", keyboard=Keyboard(KEYS, held=frozenset({KEY["KEY_LEFTSHIFT"]})))
    assert layout.type("AB")
    with pytest.raises(UntypableText, match=r"'a' \(U\+0061\) while KEY_LEFTSHIFT is held"):
        layout.type("Ba")


def test_a_key_is_never_its_own_modifier() -> None:
    """On a Tibetan layout the key M latches a level; its own letter there can't be typed."""
    strokes = Layout("cn", "tib_asciinum", keyboard=Keyboard(KEYS)).strokes.values()
    assert not [one for group in strokes for one in group if one.key in one.modifiers]


def test_caps_lock_is_named_when_it_is_to_blame() -> None:
    """With it on, German's ß key types a capital."""
    with pytest.raises(UntypableText, match=r"'ß' .* while Caps Lock is on"):
        layout_of("de", capsl=True).type("Straße")


def test_caps_lock_is_turned_off_for_a_text() -> None:
    """And on again behind it."""
    keyboard = Keyboard(KEYS, frozenset({"LED_CAPSL"}))
    groups = plan_text("Straße", keyboard, TextOptions("de", caps_lock="off"))
    events = [event for group in groups for packet in group for event in packet]
    decoder = Decoder("de", keyboard=keyboard)
    before = decoder.effective
    assert decoder.read(events) == "Straße"
    assert decoder.effective == before


def test_a_locale_has_its_own_compositions() -> None:
    """Finnish, say, composes other letters than most."""
    table = {name: Layout("pt", keyboard=Keyboard(KEYS), locale=name).strokes for name in LOCALES}
    assert "Ç" in table["pt_BR.UTF-8"]
    assert table["pt_BR.UTF-8"] != table["en_US.UTF-8"]
    with pytest.raises(UntypableText, match=r"no compose table of the locale 'xx_YY.UTF-8'"):
        Layout("pt", keyboard=Keyboard(KEYS), locale="xx_YY.UTF-8")


def test_a_byte_order_mark_is_no_text() -> None:
    """Editors put one at the start of a file. Elsewhere it is a character, that no layout has."""
    assert layout_of("us").spell("\ufeffab") == layout_of("us").spell("ab")
    with pytest.raises(UntypableText, match=r"U\+FEFF"):
        layout_of("us").spell("a\ufeff")


def test_a_sign_that_another_is_composed_of_stays_itself() -> None:
    """An accent that has its own key is typed as it stands."""
    layout = Layout("vn", keyboard=Keyboard(KEYS))
    events = [e for group in layout.type("e\u0301") for packet in group for e in packet]
    assert Decoder("vn").read(events) == "e\u0301"


LOCALES = ("en_US.UTF-8", "pt_BR.UTF-8")
SENTENCES = {
    "us": "The quick brown fox; (jumps) over 13 {lazy} dogs! ~`|\\ \"'<>?/@#$%^&*_+-=",
    "de": 'Zwölf Boxkämpfer jagen Viktor über den großen Deich: 100 % @ € {[|]} \\ ~ é à "',
    "fr": "Dès Noël, où un zéphyr haï me vêt de glaçons : «à» 50 € @ # {[|]} \\ ~ ù Ê ô",
}


@pytest.mark.parametrize(("name", "sample"), SENTENCES.items(), ids=SENTENCES)
def test_sentences_arrive(name: str, sample: str) -> None:
    """What people write in their language."""
    layout = layout_of(name)
    assert decode(name, to_packets(layout.spell(sample))) == sample


@pytest.mark.parametrize("name", ["us", "de", "fr"])
def test_nothing_stays_pressed(name: str) -> None:
    """Every key that goes down comes up."""
    layout = layout_of(name)
    down: set[int] = set()
    for group in to_packets(layout.spell("aA{é" if name != "us" else "aA{B")):
        for packet in group:
            for event in packet:
                (down.add if event.value else down.remove)(event.code)
    assert not down


def test_shift_stays_pressed_within_a_word() -> None:
    """As a person types it."""
    packets = [packet for group in to_packets(layout_of("us").spell("AB")) for packet in group]
    names = [f"{name_of(EV_KEY, event.code)} {event.value}" for (event,) in packets]
    assert names == [
        "KEY_LEFTSHIFT 1", "KEY_A 1", "KEY_A 0", "KEY_B 1", "KEY_B 0", "KEY_LEFTSHIFT 0",
    ]  # fmt: skip


def test_keys_that_every_keyboard_has_are_preferred() -> None:
    """Those of the main block to keypad, media keys and the key that Americans lack."""
    layout = layout_of("us")
    for letter in "1</(+*":
        (stroke,) = layout.strokes[letter]
        assert stroke.key <= KEY["KEY_SPACE"], letter


def test_lines_end_with_enter() -> None:
    """However the text ends them."""
    strokes = layout_of("us").spell("a\nb\r\nc\rd\t")
    enters = [stroke.key for stroke in strokes if stroke.key == KEY["KEY_ENTER"]]
    assert len(enters) == 3
    assert strokes[-1].key == KEY["KEY_TAB"]


def test_combining_marks_are_typed_as_one_character() -> None:
    """Text may spell é as e and an accent."""
    layout = layout_of("fr")
    assert layout.spell("e\u0301") == layout.spell("\u00e9")


def test_all_characters_that_are_missing_are_listed() -> None:
    """Once each, in order, with their numbers, before anything is typed."""
    with pytest.raises(UntypableText) as caught:
        layout_of("us").spell("a漢éb漢")
    assert "'漢' (U+6F22), 'é' (U+00E9)" in caught.value.message
    assert caught.value.metadata["characters"] == "漢é"


def test_a_keyboard_types_only_what_its_keys_give() -> None:
    """One without a right Alt has no AltGr level."""
    small = Layout("de", keyboard=Keyboard(KEYS - {KEY["KEY_RIGHTALT"]}))
    with pytest.raises(UntypableText, match=r"\{"):
        small.spell("a{b")


@pytest.mark.parametrize("name", ["klingon", "", "us,de", "../../etc/passwd", "us\0x", "dé"])
def test_a_layout_that_is_not_there_is_refused(name: str) -> None:
    """With where to look."""
    with pytest.raises(UntypableText, match=r"evdev\.lst"):
        layout_of(name)


def forget_xkb() -> None:
    """Let the library and what was made with it be looked for again."""
    for cached in (xkb.load, layouts.context, layouts.new_keymap, layouts.load_table):
        cached.cache_clear()


def test_without_the_library_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Everything else works without it."""
    forget_xkb()
    monkeypatch.setattr(xkb, "NAMES", ("libnobodyhas.so.0",))
    with pytest.raises(UntypableText, match="libnobodyhas") as caught:
        layout_of("us")
    for package in ("libxkbcommon0", "xkb-data", "libx11-data"):
        assert package in caught.value.message


@pytest.mark.parametrize("root", ["nothing", "empty"])
def test_without_layouts_the_error_says_what_to_install(root: str, tmp_path: Path) -> None:
    """The library is there and xkb-data is not. It prints nothing of its own."""
    (tmp_path / "empty").mkdir()
    nowhere = str(tmp_path / "nowhere")
    paths = {"XKB_CONFIG_ROOT": str(tmp_path / root), "XKB_CONFIG_EXTRA_PATH": nowhere}
    script = "from virtmesh_common.input.text.decode import Decoder\nDecoder('de')"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **paths, "HOME": nowhere, "XDG_CONFIG_HOME": nowhere},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "xkb-data" in done.stderr.splitlines()[-1]
    assert "xkbcommon: ERROR" not in done.stderr


def test_without_a_compose_table_dead_keys_are_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What has a key of its own is typed still."""
    forget_xkb()
    monkeypatch.setattr(layouts, "LOCALE_FOLDERS", (str(tmp_path),))
    strokes = layout_of("de").strokes
    assert "ü" in strokes
    assert "é" not in strokes


def test_a_broken_compose_table_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With its path, and what to do."""
    (tmp_path / "en_US.UTF-8").mkdir()
    (tmp_path / "en_US.UTF-8" / "Compose").write_text("<dead_acute\n" * 100)
    forget_xkb()
    monkeypatch.setenv("XLOCALEDIR", str(tmp_path))
    with pytest.raises(UntypableText, match=r"Compose is no compose table.*libx11-data"):
        layout_of("de")


def test_handles_are_freed() -> None:
    """Keymaps that nobody has any more take no memory: each is some 100 KiB."""
    script = """
import resource
from virtmesh_common.input.text import layouts, xkb
def work():
    for _ in range(100):
        keymap = layouts.compile_keymap("de", "")
        states = [xkb.State(keymap) for _ in range(10)]
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
work()
before = peak()
work(); work()
print(peak() - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=True
    )
    assert int(done.stdout) < 4096


def test_threads_may_type_by_one_layout_at_once() -> None:
    """It is kept from text to text, and searches for compositions when a text needs them."""
    before = sys.getswitchinterval()
    keys = Keyboard(frozenset(CODES["EV_KEY"].values()))
    text = "ΐ ᾅ ᾍ ῒ"
    want = Layout("gr", "polytonic", keyboard=keys, locale="el_GR.UTF-8").type(text)
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(4) as pool:
            for _ in range(3):
                shared = Layout("gr", "polytonic", keyboard=keys, locale="el_GR.UTF-8")
                assert list(pool.map(shared.type, [text] * 4)) == [want] * 4
    finally:
        sys.setswitchinterval(before)
