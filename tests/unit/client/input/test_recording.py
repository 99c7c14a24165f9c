"""Recordings: ours and evemu's, read, written, and refused with the line that is wrong."""

from __future__ import annotations

import codecs
import contextlib
import ctypes
import ctypes.util
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtmesh_client.input import files
from virtmesh_client.input.evemu import read_evemu, write_evemu
from virtmesh_client.input.files import load_recording, save_recording
from virtmesh_client.input.models import Axis, InputInfo, Received
from virtmesh_client.input.recording import (
    Recording,
    TimedEvent,
    read_recording,
    record,
    write_recording,
)
from virtmesh_common.evdev import CODES
from virtmesh_common.input.errors import BadEvent, BadRecording
from virtmesh_common.input.events import EV_ABS, EV_KEY, EV_REL, REPORT, Event, event

DATA = Path(__file__).parent / "data"
EVEMU = DATA / "mouse.evemu"
"""Written by evemu's own library, libevemu 2.7; the comments about its host are left out."""
KEY, ABS = CODES["EV_KEY"], CODES["EV_ABS"]

INFO = InputInfo(
    name="a tablet",
    serial="",
    ids=(6, 0x4D56, 3, 1),
    personality="",
    properties=(0, 1),
    capabilities={
        EV_KEY: frozenset({KEY["KEY_A"], KEY["BTN_TOUCH"], 0x2FE}),
        EV_ABS: frozenset({ABS["ABS_X"], ABS["ABS_MT_SLOT"]}),
    },
    axes={ABS["ABS_X"]: Axis(-5, 32767, 1, 2, 100), ABS["ABS_MT_SLOT"]: Axis(0, 9)},
    leds_on=(),
)
SAMPLE = Recording(
    (
        TimedEvent(0, event("KEY_A", 1)),
        TimedEvent(0, REPORT),
        TimedEvent(1_500_007, event("KEY_A", 0)),
        TimedEvent(1_500_007, Event(EV_ABS, 0, -5)),
        TimedEvent(1_500_009, REPORT),
    ),
    INFO,
)

events = st.builds(
    Event, st.integers(0, 0xFFFF), st.integers(0, 0xFFFF), st.integers(-(1 << 31), (1 << 31) - 1)
).filter(lambda one: not (one.type == 0 and one.code == CODES["EV_SYN"]["SYN_DROPPED"]))


@st.composite
def recordings(draw: st.DrawFn) -> Recording:
    """Make a recording of any events, closed by a SYN_REPORT."""
    timed, now = [], 0
    for one in [*draw(st.lists(events, max_size=20)), REPORT]:
        timed.append(TimedEvent(now, one))
        now += draw(st.integers(0, 1 << 32))
    return Recording(tuple(timed))


def text_of(recording: Recording, *, evemu: bool = False) -> str:
    """Write a recording."""
    file = io.StringIO()
    (write_evemu if evemu else write_recording)(recording, file)
    return file.getvalue()


@given(recordings())
def test_any_recording_survives_our_format(recording: Recording) -> None:
    """Names or numbers, any value, any time."""
    assert read_recording(io.StringIO(text_of(recording))) == recording


@given(recordings())
def test_any_events_survive_evemus_format(recording: Recording) -> None:
    """With a device that is guessed."""
    again = read_evemu(io.StringIO(text_of(recording, evemu=True)))
    assert again.events == recording.events


@pytest.mark.parametrize("evemu", [False, True])
def test_a_device_survives(*, evemu: bool) -> None:
    """Properties, codes, axes: all that the formats have."""
    text = io.StringIO(text_of(SAMPLE, evemu=evemu))
    assert (read_evemu if evemu else read_recording)(text) == SAMPLE


def test_a_file_of_evemus_own_is_read() -> None:
    """Description and events."""
    recording = load_recording(EVEMU)
    assert recording.device is not None
    assert recording.device.name == "An optical mouse"
    assert recording.device.ids == (3, 0x046D, 0xC077, 0x0111)
    assert recording.device.has(EV_KEY, KEY["BTN_EXTRA"])
    assert sorted(recording.device.capabilities) == [EV_KEY, EV_REL, 4]
    first = recording.events[0]
    assert (first.us, str(first.event)) == (0, "REL_X -2")
    assert len(recording.events) == 48
    assert recording.duration == pytest.approx(1.409)


def test_evemu_reads_what_we_write(tmp_path: Path) -> None:
    """Its library takes description and every event."""
    name = ctypes.util.find_library("evemu")
    if name is None:
        pytest.skip("libevemu is not installed (apt-get install libevemu3)")
    evemu, libc = ctypes.CDLL(name), ctypes.CDLL(None)
    for function in (libc.fopen, evemu.evemu_new, evemu.evemu_get_name):
        function.restype = ctypes.c_void_p
    path = tmp_path / "ours.evemu"
    save_recording(SAMPLE, path)
    device = ctypes.c_void_p(evemu.evemu_new(b""))
    file = ctypes.c_void_p(libc.fopen(str(path).encode(), b"r"))
    assert evemu.evemu_read(device, file) == 1
    assert ctypes.string_at(evemu.evemu_get_name(device)) == b"a tablet"
    assert evemu.evemu_has_event(device, EV_KEY, KEY["BTN_TOUCH"])
    assert not evemu.evemu_has_event(device, EV_KEY, KEY["KEY_B"])
    assert evemu.evemu_get_abs_minimum(device, 0) == -5
    assert evemu.evemu_get_abs_resolution(device, 0) == 100
    assert evemu.evemu_has_prop(device, 1)

    class InputEvent(ctypes.Structure):
        _fields_ = (
            ("seconds", ctypes.c_long),
            ("us", ctypes.c_long),
            ("type", ctypes.c_uint16),
            ("code", ctypes.c_uint16),
            ("value", ctypes.c_int32),
        )

    found, one = [], InputEvent()
    while evemu.evemu_read_event(file, ctypes.byref(one)) > 0:
        timed = TimedEvent(one.seconds * 1_000_000 + one.us, Event(one.type, one.code, one.value))
        found.append(timed)
    libc.fclose(file)
    evemu.evemu_delete(device)
    assert tuple(found) == SAMPLE.events


def test_older_versions_of_evemu_are_read() -> None:
    """Without version, without resolution, with comments at the end of a line."""
    text = "N: old # name\nI: 0003 1 2 3\nA: 00 0 100 0 0\n# note\nE: 5.000009 0 0 0 # end\n"
    recording = read_evemu(io.StringIO(text))
    assert recording.device is not None
    assert recording.device.name == "old # name"
    assert recording.device.axes == {0: Axis(0, 100)}
    assert recording.events == (TimedEvent(0, REPORT),)


HEADER = '{"virtmesh": "input recording", "version": 1}\n'
UP = '{"us": 5, "type": "EV_KEY", "code": "KEY_A", "value": 0}\n'
END = '{"us": 5, "type": "EV_SYN", "code": "SYN_REPORT", "value": 0}\n'

BAD = [
    ("", 1, "empty"),
    ("hello\n", 1, "not JSON"),
    ("[1]\n", 1, "not a JSON object"),
    ('{"virtmesh": "other"}\n', 1, "not a recording"),
    ('{"virtmesh": "input recording", "version": 9}\n', 1, "version 9"),
    ('{"virtmesh": "input recording", "version": 1, "device": 5}\n', 1, "is not valid"),
    ('{"virtmesh": "input recording", "version": 1, "device": {"ids": [1]}}\n', 1, "is not valid"),
    (HEADER + "nonsense\n", 2, "not JSON"),
    (HEADER + UP + END + "\n" + '{"us": 6}\n', 5, "code, type, value"),
    (HEADER + UP.replace("KEY_A", "KEY_NONE"), 2, "no code is named 'KEY_NONE'"),
    (HEADER + UP.replace("EV_KEY", "EV_NONE"), 2, "no type is named 'EV_NONE'"),
    (HEADER + UP.replace("0}", "0.5}"), 2, "whole numbers"),
    (HEADER + UP.replace("0}", "true}"), 2, "whole numbers"),
    (HEADER + UP.replace("0}", "2147483648}"), 2, "32 bits"),
    (HEADER + UP.replace('"KEY_A"', "65536"), 2, "0 to 65535"),
    (HEADER + UP.replace("5", "-5", 1), 2, "a time of -5 us is not from 0"),
    (HEADER + END + END.replace("5", "4", 1), 3, "is earlier than"),
    (HEADER + END + UP, 3, "the last packet is incomplete"),
    (HEADER + END.replace("SYN_REPORT", "SYN_DROPPED"), 2, "the recorder lost events"),
    (HEADER + "[" * 100_000 + "\n", 2, "not JSON"),
    (HEADER + " " * (1 << 20) + UP, 2, "longer than"),
]


@pytest.mark.parametrize(("text", "line", "why"), BAD, ids=[f"{row[1]}-{row[2]}" for row in BAD])
def test_a_bad_recording_is_refused_with_its_line(text: str, line: int, why: str) -> None:
    """For people, and for programs."""
    with pytest.raises(BadRecording, match=why) as caught:
        read_recording(io.StringIO(text))
    assert caught.value.message.startswith(f"line {line}: ")
    assert caught.value.metadata["line"] == str(line)


BAD_EVEMU = [
    ("", 1, "neither a device nor an event"),
    ("# only a comment\n", 1, "neither"),
    ("N: x\nhello\n", 2, "does not begin with N:"),
    ("N: x\nI: 1 2 3\n", 2, "BUS VENDOR PRODUCT VERSION"),
    ("N: x\nI: 1 2 3 g\n", 2, "BUS VENDOR"),
    ("P: 00 00\n", 1, "8 bytes"),
    ("B: 01 00 00 00 00 00 00 00 100\n", 1, "TYPE BYTE BYTE"),
    ("B: 1e 00 00 00 00 00 00 00 00\n", 1, "0x1e is not an event type"),
    ("A: 00 0 1 0\n", 1, "CODE MIN MAX"),
    ("L: 00\n", 1, "CODE STATE"),
    ("S: zz 1\n", 1, "CODE STATE"),
    ("E: 0.1 0001 001e\n", 1, "TYPE CODE VALUE"),
    ("E: 0.1 0001 001e 1 9\n", 1, "TYPE CODE VALUE"),
    ("E: -1.0 0 0 0\n", 1, "TYPE CODE VALUE"),
    ("E: 0.0 0 0 99999999999\n", 1, "TYPE CODE VALUE"),
    ("E: 0.0 0 0 2147483648\n", 1, "32 bits"),
    ("E: 0.0 10000 0 0\n", 1, "0 to 65535"),
]


@pytest.mark.parametrize(
    ("text", "line", "why"), BAD_EVEMU, ids=[f"{row[1]}-{row[2]}" for row in BAD_EVEMU]
)
def test_a_bad_evemu_file_is_refused_with_its_line(text: str, line: int, why: str) -> None:
    """For people, and for programs."""
    with pytest.raises(BadRecording, match=why) as caught:
        read_evemu(io.StringIO(text))
    assert caught.value.metadata["line"] == str(line)


@given(st.binary(max_size=200))
def test_garbage_is_refused_or_read(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """No other error comes of it."""
    path = tmp_path_factory.mktemp("garbage") / "file"
    path.write_bytes(data)
    with contextlib.suppress(BadRecording):
        load_recording(path)


def test_packets_have_the_time_of_their_end() -> None:
    """When the driver could act on them."""
    assert list(SAMPLE.packets()) == [
        (0, (event("KEY_A", 1),)),
        (1_500_009, (event("KEY_A", 0), Event(EV_ABS, 0, -5))),
    ]


@pytest.mark.parametrize(("speed", "last"), [(1.0, 1.500009), (2.0, 0.7500045), (0.0, 0.0)])
def test_speed_scales_the_times(speed: float, last: float) -> None:
    """And 0 takes them away."""
    assert SAMPLE.script(speed)[-1][0] == pytest.approx(last)


@pytest.mark.parametrize("speed", [-1.0, float("inf"), float("nan")])
def test_an_impossible_speed_is_refused(speed: float) -> None:
    """In words."""
    with pytest.raises(BadEvent, match="speed"):
        SAMPLE.script(speed)


def test_a_recording_ends_with_its_last_whole_packet() -> None:
    """However the recording was ended; times count from the first event."""
    taken = [event("KEY_A", 1), REPORT, event("KEY_A", 0)]
    received = [Received(7 + n, 1000 + n, one) for n, one in enumerate(taken)]
    assert record(received, None).events == (
        TimedEvent(0, event("KEY_A", 1)),
        TimedEvent(1, REPORT),
    )


def test_a_file_is_not_replaced_unless_asked(tmp_path: Path) -> None:
    """And has its name only when it is complete."""
    path = tmp_path / "a.jsonl"
    save_recording(SAMPLE, path)
    with pytest.raises(FileExistsError):
        save_recording(Recording(), path)
    assert load_recording(path) == SAMPLE
    save_recording(Recording(), path, overwrite=True)
    assert load_recording(path) == Recording()


def test_a_byte_order_mark_is_no_part_of_a_recording(tmp_path: Path) -> None:
    """Editors of other systems put it in front of text."""
    path = tmp_path / "marked.jsonl"
    save_recording(SAMPLE, path)
    path.write_bytes(codecs.BOM_UTF8 + path.read_bytes())
    assert load_recording(path) == SAMPLE


def test_what_evemu_asked_on_the_terminal_is_passed_over() -> None:
    """A file with all that it printed has that before the recording."""
    text = (
        "Available devices:\n/dev/input/event0:\tLid Switch\n"
        "Select the device event number [0-0]: # EVEMU 1.3\n"
        "N: x\nE: 0.0 1 1e 1\nE: 0.0 0 0 0\n"
    )
    recording = read_evemu(io.StringIO(text))
    assert recording.device is not None
    assert (recording.device.name, len(recording.events)) == ("x", 2)


def test_a_name_of_any_bytes_is_read(tmp_path: Path) -> None:
    """Names come from devices, and these write what they like."""
    path = tmp_path / "odd.evemu"
    path.write_bytes(b"# EVEMU 1.3\nN: Keyboard\xae\nE: 0.0 0 0 0\n")
    device = load_recording(path).device
    assert device is not None
    assert device.name == "Keyboard\ufffd"


def test_a_file_that_is_too_large_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was cut in silence."""
    monkeypatch.setattr(files, "FILE_LIMIT_BYTES", 10)
    path = tmp_path / "large.jsonl"
    save_recording(SAMPLE, path)
    with pytest.raises(BadRecording, match="at most 10 bytes"):
        load_recording(path)
