"""Personalities and what drivers read of them: names, files, and the exact bytes (5.8.4)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from tests.support import ROOT
from virtmesh.input.config import bitmap
from virtmesh.input.model import InputModel, InputOptions
from virtmesh.input.options import make
from virtmesh.input.personality import built_in, load, parse
from virtmesh_common.evdev import CODES, KERNEL, TYPES, code_of, name_of, type_name
from virtmesh_common.input import spec as layout
from virtmesh_common.input.spec import ConfigSelect

NAME, SERIAL, IDS, PROPERTIES, EV_BITS, ABS_INFO = (
    ConfigSelect.VIRTIO_INPUT_CFG_ID_NAME,
    ConfigSelect.VIRTIO_INPUT_CFG_ID_SERIAL,
    ConfigSelect.VIRTIO_INPUT_CFG_ID_DEVIDS,
    ConfigSelect.VIRTIO_INPUT_CFG_PROP_BITS,
    ConfigSelect.VIRTIO_INPUT_CFG_EV_BITS,
    ConfigSelect.VIRTIO_INPUT_CFG_ABS_INFO,
)
KEY, REL, ABS, MSC, LED, REP = 0x01, 0x02, 0x03, 0x04, 0x11, 0x14

WIDE = "00000000 ff7f0000 00000000 00000000 64000000"
"""From 0 to 32767, 100 units to a millimetre."""
BYTE = "00000000 ff000000 00000000 00000000 00000000"
"""From 0 to 255."""

EXPECTED = {
    "keyboard": {
        (NAME, 0): b"virtmesh keyboard".hex(),
        (IDS, 0): "0600 564d 0100 0100",
        (EV_BITS, KEY): (
            "feffffffffffffff"  # from KEY_ESC on
            "ffffefffdffffefe"  # no KEY_LINEFEED, KEY_MACRO, KEY_SCALE; there is no key 84
            "ffdf40f97a389fff"  # media keys, and from KEY_F13 on
            "0780040207000001"  # to KEY_F24, and KEY_PLAY, PRINT, SEARCH, BRIGHTNESS*, MICMUTE
        ),
        (EV_BITS, MSC): "10",
        (EV_BITS, LED): "07",
        (EV_BITS, REP): "03",
    },
    "mouse": {
        (NAME, 0): b"virtmesh mouse".hex(),
        (IDS, 0): "0600 564d 0200 0100",
        (PROPERTIES, 0): "01",
        (EV_BITS, KEY): 34 * "00" + "1f",
        (EV_BITS, REL): "4319",
        (EV_BITS, MSC): "10",
    },
    "tablet": {
        (NAME, 0): b"virtmesh tablet".hex(),
        (IDS, 0): "0600 564d 0300 0100",
        (PROPERTIES, 0): "01",
        (EV_BITS, KEY): 34 * "00" + "07" + 5 * "00" + "010c",
        (EV_BITS, REL): "4019",
        (EV_BITS, ABS): "03000001",
        (EV_BITS, MSC): "10",
        (ABS_INFO, 0x00): WIDE,
        (ABS_INFO, 0x01): WIDE,
        (ABS_INFO, 0x18): "00000000 ff0f0000 00000000 00000000 00000000",
    },
    "multitouch": {
        (NAME, 0): b"virtmesh touch screen".hex(),
        (IDS, 0): "0600 564d 0400 0100",
        (PROPERTIES, 0): "02",
        (EV_BITS, KEY): 41 * "00" + "04",
        (EV_BITS, ABS): "0300000100 80f306",
        (EV_BITS, MSC): "20",
        (ABS_INFO, 0x00): WIDE,
        (ABS_INFO, 0x01): WIDE,
        (ABS_INFO, 0x18): BYTE,
        (ABS_INFO, 0x2F): "00000000 09000000 00000000 00000000 00000000",
        (ABS_INFO, 0x30): WIDE,
        (ABS_INFO, 0x31): WIDE,
        (ABS_INFO, 0x34): "a6ffffff 5a000000 00000000 00000000 00000000",
        (ABS_INFO, 0x35): WIDE,
        (ABS_INFO, 0x36): WIDE,
        (ABS_INFO, 0x37): "00000000 02000000 00000000 00000000 00000000",
        (ABS_INFO, 0x39): "00000000 ffff0000 00000000 00000000 00000000",
        (ABS_INFO, 0x3A): BYTE,
    },
}
"""The bytes of `u`, in hexadecimal, for each selection that a personality supports."""


def read(model: InputModel, select: int, subsel: int) -> bytes:
    """Ask for something; return what there is, after a look at the rest of `u`."""
    model.write_config(layout.SELECT, select)
    model.write_config(layout.SUBSEL, subsel)
    size = model.read_config(layout.SIZE)
    data = model.read_config(layout.U).to_bytes(layout.U.size, "little")
    assert not any(data[size:])
    return data[:size]


@pytest.mark.parametrize("kind", built_in())
def test_every_selection_has_exactly_these_bytes(kind: str) -> None:
    """What is supported has its bytes, all 65,536 others have size 0 (5.8.5.2)."""
    model = InputModel(kind, InputOptions(kind), load(kind))
    found = {
        (select, subsel): data.hex()
        for select in range(256)
        for subsel in range(256)
        if (data := read(model, select, subsel))
    }
    assert found == {key: value.replace(" ", "") for key, value in EXPECTED[kind].items()}


def test_a_keyboard_has_the_keys_of_105_key_keyboards() -> None:
    """Every key that one can buy, by name."""
    letters = {f"KEY_{letter}" for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"}
    function = {f"KEY_F{number}" for number in range(1, 25)}
    pad = {f"KEY_KP{digit}" for digit in range(10)}
    others = set(
        "KEY_KPDOT KEY_KPENTER KEY_KPPLUS KEY_KPMINUS KEY_KPASTERISK KEY_KPSLASH"  # noqa: SIM905 - no list is shorter
        " KEY_ESC KEY_GRAVE KEY_MINUS KEY_EQUAL KEY_BACKSPACE KEY_TAB KEY_LEFTBRACE KEY_RIGHTBRACE"
        " KEY_BACKSLASH KEY_CAPSLOCK KEY_SEMICOLON KEY_APOSTROPHE KEY_ENTER KEY_LEFTSHIFT KEY_102ND"
        " KEY_COMMA KEY_DOT KEY_SLASH KEY_RIGHTSHIFT KEY_LEFTCTRL KEY_LEFTMETA KEY_LEFTALT"
        " KEY_SPACE KEY_RIGHTALT KEY_RIGHTMETA KEY_COMPOSE KEY_RIGHTCTRL KEY_SYSRQ KEY_SCROLLLOCK"
        " KEY_PAUSE KEY_INSERT KEY_HOME KEY_PAGEUP KEY_DELETE KEY_END KEY_PAGEDOWN KEY_UP KEY_LEFT"
        " KEY_DOWN KEY_RIGHT KEY_NUMLOCK KEY_MUTE KEY_VOLUMEDOWN KEY_VOLUMEUP KEY_PLAYPAUSE"
        " KEY_NEXTSONG KEY_PREVIOUSSONG KEY_STOPCD".split()
    )
    wanted = {code_of(name)[1] for name in letters | function | pad | others}
    assert wanted <= set(load("keyboard").codes[KEY])


def test_name_and_serial_can_be_chosen() -> None:
    """They are what `u.string` holds, without a NUL (5.8.4)."""
    model = InputModel("k", InputOptions("keyboard", "Ser-1", "Käpt'n"), load("keyboard"))
    assert read(model, NAME, 0) == "Käpt'n".encode()
    assert read(model, SERIAL, 0) == b"Ser-1"
    longest = InputModel("k", InputOptions("keyboard", "s" * 128), load("keyboard"))
    assert read(longest, SERIAL, 0) == b"s" * 128


@pytest.mark.parametrize(
    ("numbers", "data"),
    [([], b""), ([0], b"\x01"), ([7], b"\x80"), ([8], b"\x00\x01"), ([0, 9, 15], b"\x01\x82")],
)
def test_bitmaps_end_at_their_last_byte(numbers: list[int], data: bytes) -> None:
    """Bit 0 is the lowest of the first byte."""
    assert bitmap(numbers) == data


def test_a_personality_is_one_file(tmp_path: Path) -> None:
    """A file by its path, and its name is that of the personality."""
    path = tmp_path / "knob.toml"
    path.write_text('name = "Knob"\nrelative = ["REL_DIAL"]\nkeys = ["BTN_0..BTN_2"]\n')
    found = load(str(path))
    assert (found.kind, found.name) == ("knob", "Knob")
    assert found.codes == {KEY: (0x100, 0x101, 0x102), REL: (7,)}
    assert found.ids == (6, 0, 0, 0)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "it has no events: add one of keys"),
        ('keys = ["KEY_A"]', "name is None: it must be printable"),
        ('name = 5\nkeys = ["KEY_A"]', "name is 5: it must be printable"),
        ('name = "\\n"\nkeys = ["KEY_A"]', "name is .*: it must be printable"),
        (f'name = "{"n" * 129}"\nkeys = ["KEY_A"]', "at most 128 bytes"),
        ('name = "n"\nkey = ["KEY_A"]', "there is no key key: did you mean keys"),
        ('name = "n"\nkeys = "KEY_A"', "keys is 'KEY_A': it must be a list of names"),
        ('name = "n"\nkeys = ["KEY_AA"]', "no 'KEY_AA': did you mean KEY_A"),
        ('name = "n"\nkeys = ["KEY_B..KEY_A"]', "is empty: KEY_A comes before KEY_B"),
        ('name = "n"\nkeys = ["KEY_A.."]', "no ''"),
        ('name = "n"\nrelative = ["KEY_A"]', "relative: there is no 'KEY_A'"),
        ('name = "n"\nabsolute = 1', "absolute must be tables"),
        ('name = "n"\nabsolute.ABS_X = 1', "absolute.ABS_X must have minimum and maximum"),
        ('name = "n"\nabsolute.ABS_X.minimum = 1', "absolute.ABS_X must have minimum and maximum"),
        (
            'name = "n"\nabsolute.ABS_MT_SLOT = {minimum = 1, maximum = 0}',
            "slots are from 0 to at most 1023",
        ),
        (
            'name = "n"\nabsolute.ABS_MT_SLOT = {minimum = 0, maximum = 1024}',
            "slots are from 0 to at most 1023",
        ),
        ('name = "n"\nabsolute.0x40 = {minimum = 0, maximum = 1}', "no number from 0 to 63"),
        ('name = "n"\nkeys = [1024]', "keys: 1024 is not from 0 to 1023"),
        ('name = "n"\nkeys = [true]', "must be a list of names and numbers"),
        ('name = "n"\nabsolute.ABS_X = {minimum = 0, maximum = 0x80000000}', "32-bit numbers"),
        ('name = "n"\nabsolute.ABS_X = {minimum = 0, maximum = "1"}', "32-bit numbers"),
        ('name = "n"\nabsolute.ABS_X = {minimum = 0, maximum = 1, mid = 1}', "absolute.ABS_X must"),
        ('name = "n"\nrepeat = 1', "repeat is 1: write true or false"),
        ('name = "n"\nrepeat = true\nids = 1', "ids must be a table"),
        ('name = "n"\nrepeat = true\nids.bus = "BUS_US"', "ids.bus: there is no 'BUS_US'"),
        ('name = "n"\nrepeat = true\nids.vendor = 0x10000', "16 bits"),
        ('name = "n', "personality"),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, text: str, says: str) -> None:
    """The error names the file and the key, and says what would do."""
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=says) as caught:
        load(str(path))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("which", ["keybord", "none.toml"])
def test_a_personality_that_is_not_there(which: str) -> None:
    """Neither a name nor a file."""
    with pytest.raises(ValueError, match=which):
        load(which)


@pytest.mark.parametrize(
    ("change", "option"),
    [
        ({"personality": "keybord"}, "--personality"),
        ({"serial": "s" * 129}, "--serial"),
        ({"name_text": "a\tb"}, "--name-text"),
        ({"queue_size": 48}, "--queue-size"),
    ],
)
def test_bad_options_are_refused(change: dict[str, object], option: str) -> None:
    """Each error names its option."""
    values: dict[str, Any] = {
        "personality": "mouse",
        "serial": "",
        "name_text": "",
        "queue_size": 64,
        "waiting": 16,
        **change,
    }
    with pytest.raises(click.BadParameter) as caught:
        make("mouse", **values)
    assert caught.value.param_hint == option


def test_a_range_skips_numbers_without_a_name() -> None:
    """There is no key 84, between KEY_KPDOT and KEY_ZENKAKUHANKAKU."""
    found = parse("k", {"name": "k", "keys": ["KEY_KPDOT..KEY_102ND"]})
    assert found.codes[KEY] == (83, 85, 86)


def test_names_of_codes() -> None:
    """Aliases are known, and the name that says most is preferred."""
    assert name_of(*code_of("BTN_MOUSE")) == "BTN_LEFT"
    assert name_of(*code_of("KEY_MIN_INTERESTING")) == "KEY_MUTE"
    assert name_of(KEY, 84) == "0x54"
    assert (type_name(KEY), type_name(9)) == ("EV_KEY", "0x9")
    assert code_of("ABS_MT_SLOT") == (TYPES["EV_ABS"], 0x2F)
    assert "KEY_MAX" not in CODES["EV_KEY"]
    assert "KEY_BRIGHTNESS_MAX" in CODES["EV_KEY"]


def check_codes(*arguments: str) -> int:
    """Compare the committed names with headers; return the exit status."""
    command = [sys.executable, str(ROOT / "tools" / "input_codes.py"), "--check", *arguments]
    return subprocess.run(command, check=False, capture_output=True).returncode


def test_the_codes_are_those_of_the_headers() -> None:
    """The committed names agree with this host's headers, where they are as new."""
    assert check_codes() == 0


@pytest.mark.parametrize(("kernel", "status"), [((6, 0), 0), (KERNEL, 1), ((KERNEL[0] + 1, 0), 1)])
def test_headers_that_lack_codes(tmp_path: Path, kernel: tuple[int, int], status: int) -> None:
    """Older ones prove nothing; the same and newer ones must have every name."""
    for header in ("input-event-codes.h", "input.h"):
        (tmp_path / header).write_text("#define EV_KEY 0x01\n#define EV_MAX 0x1f\n")
    code = kernel[0] << 16 | kernel[1] << 8
    (tmp_path / "version.h").write_text(f"#define LINUX_VERSION_CODE {code}\n")
    assert check_codes("--headers", str(tmp_path)) == status


def test_a_file_may_have_numbers_axes_without_a_range_and_a_byte_order_mark(tmp_path: Path) -> None:
    """Real devices have codes without a name, and axes that nobody filled in."""
    path = tmp_path / "real.toml"
    text = 'name = "n"\nkeys = ["KEY_A", 0x2fe]\nproperties = [9]\n[absolute.0x3e]\n'
    path.write_bytes(b"\xef\xbb\xbf" + f"{text}minimum = 1\nmaximum = 0\n".encode())
    found = load(str(path))
    assert found.codes[KEY] == (30, 0x2FE)
    assert found.properties == (9,)
    assert (found.axes[0x3E].minimum, found.axes[0x3E].maximum) == (1, 0)
