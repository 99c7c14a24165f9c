"""`virtmesh input live` over a real pseudo-terminal, at the keyboard of a real machine."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import termios
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

import virtmesh_client
from tests.support.cli import SECONDS, Cli, own_folder
from virtmesh_common.input.events import EV_KEY
from virtmesh_common.input.text.decode import Decoder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from virtmesh_client import Event

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def machine() -> Iterator[Cli]:
    """Start a machine with a keyboard."""
    with own_folder() as cli:
        cli.up("--input", "keyboard", "--no-serial")
        yield cli


@dataclass
class Terminal:
    """The user's side of the terminal that the command runs in."""

    master: int
    slave: int
    process: subprocess.Popen[bytes]
    before: list[object]
    screen: bytes = b""

    def read_until(self, words: bytes) -> None:
        """Read the screen until it shows some words."""
        deadline = time.monotonic() + SECONDS
        while words not in self.screen:
            assert select.select([self.master], [], [], deadline - time.monotonic())[0], self.screen
            self.screen += os.read(self.master, 4096)

    def leave(self) -> int:
        """Press Ctrl-]; return the exit status."""
        os.write(self.master, b"\x1d")
        return self.process.wait(SECONDS)


@pytest.fixture
def terminal(machine: Cli, request: pytest.FixtureRequest) -> Iterator[Terminal]:
    """Start the command on a pseudo-terminal; it has said how to leave it."""
    master, slave = os.openpty()
    before = termios.tcgetattr(slave)
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "virtmesh_client", "input", "live", *request.param],
        env={**os.environ, "VIRTMESH_RUN_DIR": str(machine.run_dir)},
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    found = Terminal(master, slave, process, before)
    try:
        found.read_until(b"Ctrl-] leaves]\r\n\x1b[?2004h")
        yield found
    finally:
        process.kill()
        process.wait()
        os.close(master)
        os.close(slave)


def received(machine: Cli, terminal: Terminal, data: bytes, events: int) -> list[Event]:
    """Type bytes; return the events that the driver receives, as many as there are to be."""
    address = machine.state.address
    with (
        virtmesh_client.connect(address) as connected,
        connected.input("keyboard").watch(seconds=SECONDS) as watch,
    ):
        os.write(terminal.master, data)
        found: list[Event] = []
        for one in watch:
            found += [one.event] if one.event.type == EV_KEY else []
            if len(found) >= events:
                break
    return found


def names(events: list[Event]) -> list[str]:
    """Spell events."""
    return [f"{event.code_name.removeprefix('KEY_')} {event.value}" for event in events]


@pytest.mark.parametrize("terminal", [["-l", "de"]], indirect=True)
def test_what_is_typed_is_pressed_by_the_layout(machine: Cli, terminal: Terminal) -> None:
    """A German keyboard has z where an American one has y; Ctrl-Z is that key."""
    assert names(received(machine, terminal, b"z", 2)) == ["Y 1", "Y 0"]
    assert names(received(machine, terminal, b"\x1a", 4)) == [
        "LEFTCTRL 1", "Y 1", "Y 0", "LEFTCTRL 0",
    ]  # fmt: skip
    assert names(received(machine, terminal, b"\x1b[1;5A", 4)) == [
        "LEFTCTRL 1", "UP 1", "UP 0", "LEFTCTRL 0",
    ]  # fmt: skip
    events = received(machine, terminal, "Grüße".encode(), 14)
    decoder = Decoder("de", "")
    decoder.read(events)
    assert decoder.text == "Grüße"
    assert terminal.leave() == 0
    assert termios.tcgetattr(terminal.slave) == terminal.before


@pytest.mark.parametrize("terminal", [["keyboard"]], indirect=True)
def test_what_can_not_be_typed_is_told(machine: Cli, terminal: Terminal) -> None:
    """By a bell at once, and by name at the end; what stands beside it is typed."""
    assert names(received(machine, terminal, "a世b".encode(), 4)) == ["A 1", "A 0", "B 1", "B 0"]
    terminal.read_until(b"\a")
    assert terminal.leave() == 0
    terminal.read_until("[not typed: '世'".encode())


@pytest.mark.parametrize("terminal", [[]], indirect=True)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda one: one.name)
def test_the_terminal_is_restored_at_any_end(terminal: Terminal, number: signal.Signals) -> None:
    """Also after a signal. Ctrl-C is a key."""
    assert termios.tcgetattr(terminal.slave) != terminal.before
    terminal.read_until(b"\x1b[?2004h")
    terminal.process.send_signal(number)
    assert terminal.process.wait(SECONDS) == 130
    assert termios.tcgetattr(terminal.slave) == terminal.before
    terminal.read_until(b"\x1b[?2004l")


@pytest.mark.parametrize("terminal", [[]], indirect=True)
def test_escape_alone_is_a_key(machine: Cli, terminal: Terminal) -> None:
    """After a moment in which nothing follows; Ctrl-C reaches the machine."""
    assert names(received(machine, terminal, b"\x1b", 2)) == ["ESC 1", "ESC 0"]
    assert names(received(machine, terminal, b"\x03", 4))[1] == "C 1"
    assert terminal.leave() == 0


def test_no_terminal_is_wrong_usage(machine: Cli) -> None:
    """With what serves instead."""
    refused = machine("input", "live")
    assert refused.returncode == 2
    assert "`virtmesh input type -`" in refused.stderr
