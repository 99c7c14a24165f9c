"""`virtmesh input -`: commands from standard input, against a machine of real processes."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.cli import SECONDS, Cli, own_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def machine() -> Iterator[Cli]:
    """Start a machine with a keyboard and a mouse."""
    with own_folder() as cli:
        cli.up("--input", "keyboard", "--input", "mouse", "--no-serial")
        yield cli


def batch(machine: Cli, text: bytes, *options: str) -> tuple[int, str, str]:
    """Run a batch; return exit status, standard output and standard error."""
    with machine.spawn("input", "-", *options, stdin=subprocess.PIPE) as process:
        out, err = process.communicate(text, timeout=SECONDS)
    return process.returncode, out.decode(), err.decode()


LINES = b"""
# what a login types
keyboard type "hello # world"   # the device first
type -d keyboard 'a b'

mouse move -5 10
key ctrl+alt+delete
sleep 0.01
click --count 2
"""


def test_lines_are_commands(machine: Cli) -> None:
    """Each says what came of it; comments and blank lines are nothing."""
    status, out, err = batch(machine, LINES)
    assert (status, err) == (0, "")
    assert [line.partition(" (")[0] for line in out.splitlines()] == [
        "keyboard: 28 packets accepted",
        "keyboard: 6 packets accepted",
        "mouse: 1 packet accepted",
        "keyboard: 6 packets accepted",
        "mouse: 4 packets accepted",
    ]


def test_the_lines_share_an_injector(machine: Cli) -> None:
    """Its packets are numbered on from line to line, and what is pressed stays down."""
    text = b"event KEY_LEFTSHIFT=1 SYN_REPORT\nkey a\nevent KEY_LEFTSHIFT=0 SYN_REPORT\n"
    status, out, _ = batch(machine, text, "--json")
    results = [json.loads(line)["result"] for line in out.splitlines()]
    assert status == 0
    assert [(one["first"], one["last"]) for one in results] == [(1, 1), (2, 3), (4, 4)]


def test_the_first_failure_ends_it(machine: Cli) -> None:
    """With the number of its line, its own exit status, and nothing of what follows."""
    status, out, err = batch(machine, b"key a\nkey nosuchkey\nkey b\n")
    assert status == 1
    assert len(out.splitlines()) == 1
    assert err.startswith("virtmesh: line 2: ")
    assert "nosuchkey" in err
    assert len(err.splitlines()) == 1


BAD = [
    (b"frobnicate", "line 1: No such command 'frobnicate'"),
    (b"key", "line 1: Missing argument"),
    (b"type 'unfinished", "line 1: No closing quotation"),
    (b"type \xff", "line 1: byte 6 of the line is not UTF-8"),
    (b"type " + b"x" * (1 << 20), "line 1: the line has more than 1048576 bytes"),
    (b"sleep", "line 1: sleep takes one number of seconds"),
    (b"sleep -1", "line 1: sleep takes one number of seconds"),
    (b"type -", "line 1: a batch can't have '-'"),
    (b"live", "line 1: a batch can't have 'live'"),
    (b"-", "line 1: a batch can't have '-'"),
    (b"type -d nobody x", "line 1: "),
    (b"key a --address unix:/elsewhere", "line 1: a batch has one machine"),
    (b"--address unix:/elsewhere key a", "line 1: a batch has one machine"),
    (b"event KEY_A=", "line 1: 'KEY_A=' is not an event"),
    (b"event REL_X=9999999999", "line 1: REL_X 9999999999: a value has 32 bits"),
    (b"move 9999999999 0", "line 1: REL_X 9999999999: a value has 32 bits"),
    (b"key a --hold nan", "nan is not a number of seconds"),
    (b"key a --timeout inf", "inf is not a number of seconds"),
    (b"key a --hold 1e300", "1e+300 is not a number of seconds"),
    (b"key a --count 99999999999", "line 1: 199999999998 packets are too many for one call"),
    (b"move 5 5 --duration 1e8", "12500000000 packets are too many for one call"),
]


@pytest.mark.parametrize(("line", "words"), BAD, ids=lambda one: str(one[:20]))
def test_a_bad_line_is_told_and_the_next_one_runs(machine: Cli, line: bytes, words: str) -> None:
    """With --keep-going; the exit status says that there was one."""
    status, out, err = batch(machine, line + b"\nkey a\n", "-q")
    assert status != 0
    assert words in err
    status, out, err = batch(machine, line + b"\nkeyboard key a", "-k")
    assert status == 1
    assert out == "keyboard: 2 packets accepted (2 events)\n"
    assert err.splitlines()[-1] == "virtmesh: 1 of 2 commands failed"


def test_each_line_has_one_line_of_json(machine: Cli) -> None:
    """Those that fail, too."""
    _, out, _ = batch(machine, b"key a\ninfo -d mouse\nfrob\nsleep 0\n", "--json", "-k")
    outcomes = [json.loads(line) for line in out.splitlines()]
    assert [(one["line"], one["ok"]) for one in outcomes] == [
        (1, True),
        (2, True),
        (3, False),
        (4, True),
    ]
    assert outcomes[0]["result"]["outcome"] == "accepted"
    assert outcomes[1]["result"]["name"]
    assert outcomes[2]["error"]["reason"] == "USAGE"


def test_a_line_has_help(machine: Cli) -> None:
    """As every command has, by both names."""
    for option in (b"-h", b"--help"):
        status, out, err = batch(machine, b"key " + option + b"\n")
        assert (status, err) == (0, "")
        assert "Press and release keys or chords" in out


def test_a_program_can_wait_for_each_outcome(machine: Cli) -> None:
    """A line runs as it arrives, and its outcome comes at once."""
    with machine.spawn("input", "-", "--json", stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for number, line in enumerate((b"key a\n", b"keyboard type hi\n", b"mouse click\n"), 1):
            process.stdin.write(line)
            process.stdin.flush()
            outcome = json.loads(process.stdout.readline())
            assert (outcome["line"], outcome["ok"]) == (number, True)
        process.stdin.close()
        assert process.wait(SECONDS) == 0
