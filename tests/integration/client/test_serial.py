"""`virtmesh serial` and the serial library, against a machine of real processes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import virtmesh_client
from tests.support import ROOT
from tests.support.cli import SECONDS, Cli, own_folder
from virtmesh_common.uart.errors import ExpectTimeout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from virtmesh_client import Machine, Serial

pytestmark = pytest.mark.processes

EXAMPLES = ROOT / "clients" / "examples"
PROMPT = "virtmesh> "
MIB = 1 << 20


@pytest.fixture(scope="module")
def cli() -> Iterator[Cli]:
    """Start a machine with a serial port."""
    with own_folder() as cli:
        cli.up("--serial")
        yield cli


@pytest.fixture
def machine(cli: Cli) -> Iterator[Machine]:
    """Connect to it."""
    with virtmesh_client.connect(cli.state.address) as machine:
        yield machine


@pytest.fixture
def serial(machine: Machine) -> Iterator[Serial]:
    """Plug a terminal in, at the prompt."""
    with machine.serial() as serial:
        serial.send_line()
        serial.expect(PROMPT)
        yield serial


def ask(cli: Cli, *arguments: object) -> Any:
    """Run a command; returns what it says in JSON."""
    result = cli("serial", *arguments, "--json")
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_info_says_how_the_driver_has_set_the_port(cli: Cli, serial: Serial) -> None:
    """For programs, and for people."""
    info = ask(cli, "info")
    assert info["format"] == {"baud": 115200, "data_bits": 8, "parity": "N", "stop_bits": 1.0}
    assert (info["port_lines"]["dtr"], info["attached"], info["watchers"]) == (True, True, 1)
    assert "115200 8N1" in cli("serial", "info").stdout
    assert str(serial.info().format) == "115200 8N1"


def test_a_file_is_sent_as_it_is(cli: Cli, serial: Serial) -> None:
    """The machine received every byte of it."""
    content = os.urandom(MIB)
    (cli.folder / "content").write_bytes(content)
    serial.send_line(f"sink {MIB}")
    serial.expect("waiting for")
    assert ask(cli, "send", "content") == {
        "device": "serial", "sent": MIB, "taken": MIB, "overrun": 0,
    }  # fmt: skip
    assert serial.expect(re.compile(r"received (\d+)")).groups == (str(MIB),)
    serial.expect(PROMPT)


def test_breaks_and_errors_are_counted_by_the_device(cli: Cli) -> None:
    """Each with its character."""
    before = ask(cli, "stats")
    ask(cli, "break")
    ask(cli, "error", "parity", "ab")
    ask(cli, "error", "framing", "c")
    after = ask(cli, "stats")
    grown = {name: after[name] - before[name] for name in after}
    assert (grown["breaks"], grown["parity_errors"], grown["framing_errors"]) == (1, 2, 1)
    assert grown["received"] == 4


def test_lines_are_shown_and_set(cli: Cli) -> None:
    """Those that are not named stay."""
    assert ask(cli, "lines") == {"cts": True, "dsr": True, "ri": False, "dcd": True}
    assert ask(cli, "lines", "ri=on", "dcd=off")["ri"] is True
    assert cli("serial", "lines").stdout == "serial: CTS DSR RI\n"
    ask(cli, "lines", "ri=off", "dcd=on")


def test_a_burst_is_counted(cli: Cli, serial: Serial) -> None:
    """What overran is what the device counts."""
    serial.send_line("queue off")
    serial.expect(PROMPT)
    before = ask(cli, "stats")["overruns"]
    burst = ask(cli, "burst", "64K")
    assert burst["sent"] == 64 << 10
    assert burst["overrun"] == ask(cli, "stats")["overruns"] - before > 0
    serial.send_line("\x03")
    serial.send_line("queue on")
    serial.expect("queue: on")
    serial.expect(PROMPT)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["lines", "cts=maybe"], "cts|dsr|ri|dcd=on|off"),
        (["lines", "dtr=on"], "cts|dsr|ri|dcd=on|off"),
        (["send", "no such file"], "no such file"),
        (["burst", "many"], "is no size"),
    ],
)
def test_wrong_usage_says_what_to_write(cli: Cli, arguments: list[str], words: str) -> None:
    """In one line, with status 2."""
    result = cli("serial", *arguments)
    assert result.returncode == 2
    assert words in result.stderr


def test_a_script_expects_text_of_the_machine(serial: Serial) -> None:
    """And is told what came when it does not."""
    serial.send_line("uname")
    assert "virtmesh" in serial.expect(PROMPT).text
    serial.send_line("no-such-command")
    with pytest.raises(ExpectTimeout, match="no-such-command"):
        serial.expect("never", timeout=0.3)
    serial.expect(PROMPT)


def test_the_story_of_the_overrun_runs(cli: Cli) -> None:
    """To its end: the device counts every lost byte, and with the queue no byte is lost."""
    result = subprocess.run(
        [sys.executable, EXAMPLES / "serial_overrun.py"],
        env={**os.environ, "VIRTMESH_ADDRESS": cli.state.address},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "with the queue no byte was lost" in result.stdout.splitlines()[-1]


def test_a_machine_may_have_no_port(cli: Cli) -> None:
    """When it is told to."""
    other = Cli(cli.folder, {"VIRTMESH_RUN_DIR": str(cli.folder / "two")})
    try:
        other.up("--no-serial", "--disk", "disk.img,size=1M")
        result = other("console")
        assert result.returncode == 1
        assert "no serial port" in result.stderr
    finally:
        other("down")
