"""Typing from anywhere: by this system's layouts, or where it has none by the device service."""

from __future__ import annotations

import contextlib
import json
import subprocess
from typing import TYPE_CHECKING

import grpc
import pytest

import virtmesh_client
from tests.support.cli import Cli, own_folder
from virtmesh_client.input import TextOptions
from virtmesh_client.input.decode import Decoder
from virtmesh_common.api.input.v1 import input_pb2
from virtmesh_common.api.input.v1.input_pb2_grpc import InputServiceStub
from virtmesh_common.channel import DEVICE_KEY
from virtmesh_common.errors import NotOffered
from virtmesh_common.input.errors import BadEvent, TypingUnavailable, UntypableText
from virtmesh_common.input.text import layouts, plan, xkb

if TYPE_CHECKING:
    from collections.abc import Iterator

    from virtmesh_client import Machine
    from virtmesh_client.input import EventWatch, Input

pytestmark = pytest.mark.processes

TEXT = "Größe: 5 € für {Ǿ}\n"
T3 = TextOptions("de", "T3")


@pytest.fixture(scope="module")
def cli() -> Iterator[Cli]:
    """Start a machine with a keyboard and a mouse."""
    with own_folder() as cli:
        lines = ['name = "typing"']
        for name in ("keyboard", "mouse"):
            lines += [
                "[[devices]]", f'name = "{name}"', 'kind = "input"',
                "[devices.options]", f'personality = "{name}"',
            ]  # fmt: skip
        (cli.folder / "typing.toml").write_text("\n".join(lines))
        (cli.folder / "empty").mkdir()
        cli.up("typing.toml")
        yield cli


@pytest.fixture
def machine(cli: Cli) -> Iterator[Machine]:
    """Connect to it."""
    with virtmesh_client.connect(cli.state.address) as machine:
        yield machine


@contextlib.contextmanager
def without_xkb() -> Iterator[None]:
    """Take libxkbcommon away from this process for a while."""
    caches = (xkb.load, layouts.context, layouts.new_keymap, layouts.load_table, plan.open_layout)
    for cache in caches:
        cache.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(xkb, "NAMES", ("libnobodyhas.so.0",))
        yield
    for cache in caches:
        cache.cache_clear()


def read(watch: EventWatch, packets: int, layout: str = "de", variant: str = "T3") -> str:
    """Read the text that the driver received in so many packets."""
    decoder = Decoder(layout, variant)
    while packets:
        event = next(watch).event
        decoder.take(event)
        packets -= event.is_report
    return decoder.text


def test_the_service_types_where_the_library_is_missing(machine: Machine) -> None:
    """With the same result, and the same account of it."""
    with machine.input("keyboard") as keyboard, keyboard.watch(seconds=60) as watch:
        with without_xkb():
            typed = keyboard.type(TEXT, layout=T3, wait="delivered")
        assert read(watch, typed.packets) == TEXT.replace("\n", "\r")
    assert typed.outcome == "delivered"
    assert typed.device_packet > 0


def test_what_the_service_refuses_is_raised(machine: Machine) -> None:
    """As if the library had refused it."""
    with without_xkb(), pytest.raises(BadEvent, match="mouse can't type"):
        machine.input("mouse").type("a")


def test_what_is_no_keyboard_says_so(machine: Machine) -> None:
    """The text and the layout are not at fault."""
    with pytest.raises(BadEvent, match="mouse can't type this: it has no keys for letters"):
        machine.input("mouse").type("a")
    with pytest.raises(BadEvent, match="keyboard can't drag: it has no axes"):
        machine.input("keyboard").drag((1, 1))


def test_an_older_service_leaves_the_advice_of_before(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What to install here."""

    def too_old(*_: object, **__: object) -> object:
        raise NotOffered("no such call")

    keyboard: Input = machine.input("keyboard")
    known = keyboard.info()
    monkeypatch.setattr(keyboard, "info", lambda: known)
    monkeypatch.setattr(machine._channel, "ask", too_old)
    with without_xkb(), pytest.raises(TypingUnavailable, match="apt-get install libxkbcommon0"):
        keyboard.type("a")


@pytest.mark.parametrize("root", ["", "empty"], ids=["here", "by-the-service"])
def test_the_command_types_standard_input(cli: Cli, machine: Machine, root: str) -> None:
    """A byte order mark is no text; CR LF is one Enter; with or without layouts here."""
    command = ("input", "type", "-", "-l", "de", "--variant", "T3", "--wait", "delivered", "--json")
    lacking = {"XKB_CONFIG_ROOT": str(cli.folder / root)} if root else {}
    shell = Cli(cli.folder, {**cli.environment, **lacking})
    with machine.input("keyboard").watch(seconds=60) as watch:
        with shell.spawn(*command, stdin=subprocess.PIPE) as process:
            out, err = process.communicate(b"\xef\xbb\xbf" + "Grüße Ǿ\r\n".encode(), timeout=30)
            assert process.returncode == 0, err
        assert read(watch, json.loads(out)["packets"]) == "Grüße Ǿ\r"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"ab\xfcc", "standard input is not UTF-8: byte 0xFC at offset 2"),
        (b"\xef\xbb\xbfab\xfc", "byte 0xFC at offset 5"),
        ("häh".encode("utf-16"), "iconv -f UTF-16LE -t UTF-8"),
    ],
    ids=["latin-1", "behind-a-mark", "utf-16"],
)
def test_a_file_that_is_not_utf_8_is_refused(cli: Cli, data: bytes, words: str) -> None:
    """With the place of the first bad byte, and how to convert it."""
    with cli.spawn("input", "type", "-", stdin=subprocess.PIPE) as process:
        _, err = process.communicate(data, timeout=30)
    assert process.returncode == 2
    assert words in err.decode()


def test_an_argument_that_is_not_utf_8_is_refused(cli: Cli) -> None:
    """A shell of another encoding."""
    with cli.spawn("input", "type", "gr\udcfc\udcdfe") as process:
        _, err = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "TEXT is not UTF-8: byte 0xFC at offset 2" in err.decode()


def test_any_client_types_by_one_call(cli: Cli, machine: Machine) -> None:
    """Through the kernel service, with the device in the metadata."""
    metadata = ((DEVICE_KEY, "keyboard"),)
    with (
        machine.input("keyboard").watch(seconds=60) as watch,
        grpc.insecure_channel(cli.state.address) as channel,
    ):
        stub = InputServiceStub(channel)
        request = input_pb2.TypeRequest(text="Hé!", layout="fr")
        sent = stub.Type(request, metadata=metadata, timeout=30).sent
        assert read(watch, len(sent.packets), "fr", "") == "Hé!"
        sent = stub.Key(input_pb2.KeyRequest(chords=["enter"]), metadata=metadata).sent
        assert [one.outcome for one in sent.packets] == [input_pb2.OUTCOME_ACCEPTED] * 2


def test_held_shift_is_no_silent_capital(machine: Machine) -> None:
    """The plan knows what is held, by whomever."""
    with machine.input("keyboard") as holder, machine.input("keyboard") as typist:
        holder.press("shift")
        with pytest.raises(UntypableText, match="KEY_LEFTSHIFT is held"):
            typist.type("abc")
        holder.release("shift")
        typist.type("abc")
