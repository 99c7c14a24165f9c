"""Input through a machine of real processes: what is injected is what the driver receives."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import virtmesh_client
from tests.support import ROOT
from tests.support.cli import Cli, own_folder
from virtmesh_client import AsyncInput, Event, Input
from virtmesh_client.input.decode import Decoder
from virtmesh_common.errors import DeviceNotFound
from virtmesh_common.input.errors import BadEvent, UntypableText
from virtmesh_common.input.events import REPORT, event
from virtmesh_common.input.text.layout import Layout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from virtmesh_client import Machine

pytestmark = pytest.mark.processes

EVEMU = ROOT / "tests" / "unit" / "client" / "input" / "data" / "mouse.evemu"
DEVICES = {"keyboard": "keyboard", "mouse": "mouse", "tablet": "tablet", "screen": "multitouch"}
SENTENCE = 'Größe "XL": 5 € für {Ærøskøbing} \\ é'
LAST = event("KEY_F24", 0)
"""A key that no text holds: it ends what is watched."""


@pytest.fixture(scope="module")
def cli() -> Iterator[Cli]:
    """Start a machine with an input device of each kind."""
    with own_folder() as cli:
        lines = ['name = "inputs"']
        for name, personality in DEVICES.items():
            lines += [
                "[[devices]]", f'name = "{name}"', 'kind = "input"',
                "[devices.options]", f'personality = "{personality}"',
            ]  # fmt: skip
        (cli.folder / "inputs.toml").write_text("\n".join(lines))
        cli.up("inputs.toml")
        yield cli


@pytest.fixture
def machine(cli: Cli) -> Iterator[Machine]:
    """Connect to it."""
    with virtmesh_client.connect(cli.state.address) as machine:
        yield machine


def take(watch: virtmesh_client.input.EventWatch, count: int) -> list[Event]:
    """Return the next events that the driver received."""
    return [next(watch).event for _ in range(count)]


@pytest.mark.parametrize(("one", "other"), [(Input, AsyncInput)])
def test_both_faces_have_the_same_methods(one: type, other: type) -> None:
    """With the same parameters and defaults."""
    shapes = [
        {
            name: str(inspect.signature(member).replace(return_annotation=None))
            for name, member in vars(face).items()
            if inspect.isfunction(member) and not name.startswith("_")
        }
        for face in (one, other)
    ]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("layout", ["us", "de", "fr"])
def test_every_character_of_a_layout_reaches_the_driver(machine: Machine, layout: str) -> None:
    """Typed through client, kernel and device, decoded from what the driver received."""
    with machine.input("keyboard") as keyboard, keyboard.watch(seconds=60) as watch:
        letters = Layout(layout, keyboard=keyboard.info().keyboard).strokes
        text = "".join(letter for letter in letters if letter.isprintable())
        typed = keyboard.type(text, layout=layout, wait="delivered")
        received = take(watch, 2 * typed.packets)
    assert typed.outcome == "delivered"
    assert Decoder(layout).read(received) == text


def test_caps_lock_is_taken_into_account(machine: Machine) -> None:
    """As its light says: what arrives is what was meant."""
    with machine.input("keyboard") as keyboard, keyboard.watch_output() as output:
        keyboard.set_led("capslock")
        assert next(output).leds_on == (1,)
        with keyboard.watch(seconds=60) as watch:
            typed = keyboard.type("aB", wait="delivered")
            assert Decoder("us", caps=True).read(take(watch, 2 * typed.packets)) == "aB"
        keyboard.set_led("capslock", on=False)
        assert next(output).leds_on == ()


def test_keys_of_a_closed_injector_are_released(machine: Machine) -> None:
    """In the reverse order; one that another injector holds too stays down."""
    with machine.input("keyboard") as one, one.watch(seconds=60) as watch:
        two = machine.input("keyboard")
        two.press("shift+a")
        one.press("a")
        two.close()
        one.close()
        received = [str(event) for event in take(watch, 8) if event != REPORT]
    assert received == ["KEY_LEFTSHIFT 1", "KEY_A 1", "KEY_LEFTSHIFT 0", "KEY_A 0"]


def test_release_all_releases_what_anybody_holds(machine: Machine) -> None:
    """And says what it was."""
    with machine.input("keyboard") as holder:
        holder.press("x+y")
        assert set(machine.input("keyboard").release_all()) == {"KEY_X", "KEY_Y"}


def test_release_all_needs_no_injector_before_it(machine: Machine) -> None:
    """The first that anybody asks of a device: there is nothing to release."""
    assert machine.input("tablet").release_all() == []


def test_a_replayed_recording_is_recorded_the_same(machine: Machine) -> None:
    """Record, replay, record: the same events."""
    with machine.input("tablet") as tablet:
        with tablet.watch(seconds=60) as watch:
            tablet.move_to(0, 0)
            tablet.move_to(*tablet.point(1.0, 0.5), duration=0.1)
            tablet.click(count=2)
            tablet.drag((100, 200), duration=0.05)
            first = record(tablet, watch)
        with tablet.watch(seconds=60) as watch:
            played = tablet.play(first, wait="delivered")
            second = record(tablet, watch)
    assert [one.event for one in first.events] == [one.event for one in second.events]
    assert played.injected.packets == len(list(first.packets()))
    assert played.seconds >= first.duration


def record(tablet: Input, watch: virtmesh_client.input.EventWatch) -> virtmesh_client.Recording:
    """Record all that was delivered before now."""
    tablet.click("middle", wait="delivered")
    received = []
    for one in watch:
        received.append(one)
        if str(one.event) == "BTN_MIDDLE 1":
            break
    return virtmesh_client.input.recording.record(received[:-1], tablet.info())


def test_a_file_of_evemus_own_plays(machine: Machine) -> None:
    """The driver receives just its events."""
    recording = virtmesh_client.load_recording(EVEMU)
    with machine.input("mouse") as mouse, mouse.watch(seconds=60) as watch:
        mouse.play(recording, speed=0, wait="delivered")
        received = take(watch, len(recording.events))
    assert received == [one.event for one in recording.events]


def test_a_recording_of_another_device_is_refused_or_skipped(machine: Machine) -> None:
    """As a whole, before anything is sent; or without what the device lacks."""
    recording = virtmesh_client.load_recording(EVEMU)
    with machine.input("tablet") as tablet:
        with pytest.raises(BadEvent, match="has no REL_X"):
            tablet.play(recording)
        played = tablet.play(recording, speed=0, skip_missing=True)
    assert played.skipped == 20
    assert played.injected.packets == 6


def test_a_finger_swipes(machine: Machine) -> None:
    """And is lifted."""
    with machine.input("screen") as screen, screen.watch(seconds=60) as watch:
        screen.swipe(screen.point(0.1, 0.1), screen.point(0.9, 0.9), duration=0.05, fingers=2)
        received = []
        for one in watch:
            received.append(str(one.event))
            if received[-1] == "BTN_TOUCH 0":
                break
    assert received.count("ABS_MT_TRACKING_ID -1") == 2


async def test_the_asyncio_face_watches_while_it_types(machine: Machine) -> None:
    """One task types, the other reads until the text is there."""
    async with await virtmesh_client.aconnect(machine.address) as connected:
        keyboard = connected.input("keyboard")
        decoder = Decoder("de")
        async with await keyboard.watch() as watch, keyboard:
            typing = asyncio.create_task(keyboard.type(SENTENCE, layout="de", delay=0.001))
            async for received in watch:
                decoder.take(received.event)
                if decoder.text == SENTENCE:
                    break
            assert (await typing).outcome == "accepted"


def test_text_that_the_layout_lacks_is_refused_before_it_is_typed(machine: Machine) -> None:
    """Nothing of it arrives."""
    with machine.input("keyboard") as keyboard:
        before = keyboard.stats().packets_accepted
        with pytest.raises(UntypableText, match="ß"):
            keyboard.type("Spaß", layout="us")
        assert keyboard.stats().packets_accepted == before


def test_a_device_that_is_not_there_is_not_found(machine: Machine) -> None:
    """Whatever is asked of it."""
    nobody = machine.input("nobody")
    for call in (nobody.info, nobody.stats, lambda: nobody.key("a"), nobody.watch):
        with pytest.raises(DeviceNotFound):
            call()


def test_a_silent_device_is_watched_until_nobody_reads(cli: Cli) -> None:
    """As by `head -1`: no key has to be pressed."""
    with cli.spawn("input", "watch", "-d", "keyboard") as watching:
        assert watching.stdout is not None
        assert watching.stderr is not None
        assert b"Watching keyboard" in watching.stderr.readline()
        watching.stdout.close()
        assert watching.wait(30) == 141
        assert watching.stderr.read() == b""


def test_the_commands_inject_and_watch(cli: Cli) -> None:
    """What one types, the other prints, in evtest's manner."""
    with cli.spawn("input", "watch", "-d", "keyboard", "--events", 4) as watching:
        assert watching.stdout is not None
        assert watching.stderr is not None
        assert b"Watching keyboard" in watching.stderr.readline()
        result = cli("input", "key", "enter", "--wait", "delivered")
        assert result.stdout == "keyboard: 2 packets delivered (2 events)\n"
        lines = watching.stdout.read().decode().splitlines()
    assert [line.partition(", ")[2] for line in lines] == [
        "type 1 (EV_KEY), code 28 (KEY_ENTER), value 1",
        "-------------- SYN_REPORT ------------",
        "type 1 (EV_KEY), code 28 (KEY_ENTER), value 0",
        "-------------- SYN_REPORT ------------",
    ]


def test_a_recording_ends_with_ctrl_c_and_plays(cli: Cli) -> None:
    """Into a file that `play` and `convert` take."""
    with cli.spawn("input", "record", "-d", "mouse", "clicks.jsonl") as recording:
        assert recording.stderr is not None
        assert b"Recording mouse" in recording.stderr.readline()
        assert cli("input", "click", "-d", "mouse", "--wait", "delivered").returncode == 0
        with (
            virtmesh_client.connect(cli.state.address) as machine,
            machine.input("mouse").watch(seconds=60) as watch,
        ):
            # The recorder has got everything when somebody who began later has.
            assert cli("input", "scroll", "1", "-d", "mouse").returncode == 0
            take(watch, 3)
        recording.send_signal(signal.SIGINT)
        assert recording.wait(timeout=30) == 0
    assert (cli.folder / "clicks.jsonl").exists(), recording.stderr.read()
    converted = cli("input", "convert", "clicks.jsonl", "clicks.evemu", "--json")
    assert converted.returncode == 0, converted.stderr
    assert json.loads(converted.stdout)["packets"] >= 2
    played = cli("input", "play", "clicks.evemu", "-d", "mouse", "--speed", "0", "--json")
    assert json.loads(played.stdout)["packets"] >= 2
    played = cli("input", "play", "clicks.jsonl", "--json")
    assert json.loads(played.stdout)["device"] == "mouse"


@pytest.mark.parametrize(
    ("command", "device"),
    [
        ("type Hallo -l de --delay 0.001", "keyboard"),
        ("key ctrl+alt+delete f1 --hold 0.01", "keyboard"),
        ("event KEY_A=1 SYN_REPORT KEY_A=0 -d keyboard", "keyboard"),
        ("click right --count 2", "mouse"),
        ("click --at 50% 25%", "tablet"),
        ("move -5 3", "mouse"),
        ("move 50% 0x10 --duration 0.02", "tablet"),
        ("move 1 2 --to", "tablet"),
        ("drag -10 10 --duration 0.02", "mouse"),
        ("drag 100% 100% --from 0 0 --duration 0.02", "tablet"),
        ("scroll -1.5 --horizontal 1", "mouse"),
        ("touch 50% 50% --count 2", "screen"),
        ("touch 0 0 --to 50% 50% --fingers 3 --duration 0.02", "screen"),
        ("key a --wait none", "keyboard"),
        ("key a --overflow refuse --timeout 9", "keyboard"),
    ],
)
def test_a_command_finds_its_device(cli: Cli, command: str, device: str) -> None:
    """The only one that can do it, or the one of the usual name; JSON says which."""
    result = cli("input", *command.split(), "--json")
    assert result.returncode == 0, result.stderr
    facts = json.loads(result.stdout)
    assert facts["device"] == device
    assert facts["packets"] >= 1


BAD = [
    ("key entr", 1, "UNKNOWN_KEY", "did you mean enter"),
    ("key ctrl+", 1, "UNKNOWN_KEY", "an empty key name"),
    ("type 日本", 1, "UNTYPABLE_TEXT", "U+65E5"),
    ("type a -l klingon", 1, "UNTYPABLE_TEXT", "evdev.lst"),
    ("key a -d mouse", 1, "BAD_EVENT", "has no KEY_A"),
    ("move 40000 0 --to", 1, "BAD_EVENT", "0 to 32767"),
    ("move 101% 0%", 1, "BAD_EVENT", "0% to 100%"),
    ("event REL_Q=1 -d mouse", 1, "BAD_EVENT", "did you mean"),
    ("event KEY_A=b -d keyboard", 2, "USAGE", "such as KEY_A=1"),
    ("drag 5% 5%", 2, "USAGE", "--from X Y"),
    ("touch 5% 5% --fingers 2", 2, "USAGE", "--to X Y"),
    ("key +", 1, "UNKNOWN_KEY", "the key + as plus"),
    ("move 1 y", 2, "USAGE", "such as 50%"),
    ("info", 2, "USAGE", "--device keyboard or mouse or"),
    ("info -d nobody", 1, "DEVICE_NOT_FOUND", "virtmesh devices"),
    ("leds --set disco=on", 1, "UNKNOWN_KEY", "no LED is named"),
    ("leds --set capslock", 2, "USAGE", "capslock=on"),
    ("play missing.jsonl", 1, "OS_ERROR", "missing.jsonl"),
    ("play torn.jsonl", 1, "BAD_RECORDING", "torn.jsonl: line 2: the last packet is incomplete"),
    ("convert torn.jsonl out.evemu", 1, "BAD_RECORDING", "line 2"),
    ("record torn.jsonl -d mouse", 1, "OS_ERROR", "--force replaces"),
]


@pytest.mark.parametrize(("command", "status", "reason", "mend"), BAD, ids=[row[0] for row in BAD])
def test_an_error_is_one_line_with_its_mend(
    cli: Cli, command: str, status: int, reason: str, mend: str
) -> None:
    """And the documented exit status; with --json it is one object."""
    (cli.folder / "torn.jsonl").write_text(
        '{"virtmesh": "input recording", "version": 1}\n'
        '{"us": 0, "type": "EV_KEY", "code": "KEY_A", "value": 1}\n'
    )
    result = cli("input", *command.split(), "--json")
    error = json.loads(result.stderr)["error"]
    assert (result.returncode, error["exit_status"]) == (status, status)
    assert error["reason"] == reason
    assert mend in error["message"]
    assert "\n" not in error["message"]
    assert result.stdout == ""


def test_text_is_typed_from_a_system_that_is_no_unix(cli: Cli, machine: Machine) -> None:
    """The client needs nothing of Unix for it, nor the services."""
    command = ("--address", cli.state.address, "input", "type", "--layout", "de", "Grüße", "-d")
    with machine.input("keyboard").watch(seconds=20) as watch:
        done = subprocess.run(
            [sys.executable, "-m", "tests.support.other_system", *command, "keyboard"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        machine.input("keyboard").key("f24")
        events = list(
            itertools.takewhile(lambda event: event != LAST, (one.event for one in watch))
        )
    assert Decoder("de").read(events) == "Grüße"
