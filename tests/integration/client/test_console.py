"""`virtmesh console` against a machine of real processes, with the programs that people use."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pexpect
import pexpect.fdpexpect
import pytest
import serial as pyserial

import virtmesh_client
from tests.support.cli import SECONDS, Cli, eventually, own_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [
    pytest.mark.processes,
    pytest.mark.filterwarnings("ignore:set(Daemon|Name):DeprecationWarning"),
]

PROMPT = "virtmesh> "
LEAVE = "\x1d"
VIRTMESH = [sys.executable, "-m", "virtmesh_client"]


@pytest.fixture(scope="module")
def cli() -> Iterator[Cli]:
    """Start a machine with a serial port."""
    with own_folder() as cli:
        cli.up("--serial")
        yield cli


def environment(cli: Cli) -> dict[str, str]:
    """Return the environment of a command."""
    return {**os.environ, "VIRTMESH_RUN_DIR": str(cli.run_dir)}


@contextlib.contextmanager
def window(cli: Cli, *argv: str) -> Iterator[Any]:
    """Run a program in a window."""
    child = pexpect.spawn(
        argv[0], list(argv[1:]), env=environment(cli), cwd=str(cli.folder), timeout=SECONDS
    )
    child.delaybeforesend = None
    try:
        yield child
    finally:
        child.close(force=True)


@contextlib.contextmanager
def console(cli: Cli, *options: str) -> Iterator[Any]:
    """Open a console in a window, at the prompt of the machine."""
    with window(cli, *VIRTMESH, "console", *options) as child:
        child.expect_exact("leaves")
        child.send("\r")
        child.expect_exact(PROMPT)
        yield child


def watchers(cli: Cli) -> int:
    """Count the terminals that watch."""
    with virtmesh_client.connect(cli.state.address) as machine:
        return machine.serial().info().watchers


def run(cli: Cli, text: bytes, *options: str) -> subprocess.CompletedProcess[bytes]:
    """Run a console with its input from a pipe."""
    return subprocess.run(
        [*VIRTMESH, "console", *options],
        input=text,
        env=environment(cli),
        cwd=cli.folder,
        capture_output=True,
        timeout=SECONDS,
        check=False,
    )


def test_a_newcomer_meets_a_living_machine(cli: Cli) -> None:
    """A prompt, commands that answer, and a key that leaves."""
    with console(cli) as child:
        child.send("lsdev\r")
        child.expect_exact("0x10000000")
        child.expect_exact(PROMPT)
        child.send(LEAVE)
        child.expect(pexpect.EOF)
        child.wait()
        assert child.exitstatus == 0


def test_the_boot_messages_are_kept(cli: Cli) -> None:
    """For who comes later."""
    result = run(cli, b"", "--read-only", "--from-start", "--until", PROMPT)
    assert result.returncode == 0
    assert b"serial: driver NS16550a" in result.stdout


def leave(shell: Any) -> None:
    """Press the key that leaves."""
    shell.send(LEAVE)


def terminate(shell: Any) -> None:
    """Ask the shell's only child to end."""
    os.kill(child_of(shell.pid), signal.SIGTERM)


def hang_up(shell: Any) -> None:
    """Tell it that its window was closed."""
    os.kill(child_of(shell.pid), signal.SIGHUP)


@pytest.mark.parametrize("end", [leave, terminate, hang_up])
def test_the_window_is_as_it_was(cli: Cli, end: Callable[[Any], None]) -> None:
    """However the console ends; the cursor is shown again."""
    script = "stty -g; " + " ".join(VIRTMESH) + " console; stty -g; echo done"
    with window(cli, "/bin/sh", "-c", script) as child:
        child.expect(re.compile(rb"([0-9a-f:]{40,})\r\n"))
        before = child.match[1]
        child.expect_exact("leaves")
        end(child)
        child.expect_exact("\x1b[?25h")
        child.expect(re.compile(rb"([0-9a-f:]{40,})\r\n"))
        assert child.match[1] == before
        child.expect_exact("done")


def child_of(pid: int) -> int:
    """Return the only child of a process."""
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text())


def test_ctrl_c_and_escape_sequences_go_to_the_machine(cli: Cli) -> None:
    """Another key leaves, if asked; what is typed is not for the shell."""
    with console(cli, "--escape", "Ctrl-A") as child:
        child.send("abc\x03")
        child.expect_exact(PROMPT)
        child.send(LEAVE)
        child.send("\x03")
        child.expect_exact(PROMPT)
        child.send("\x01")
        child.expect(pexpect.EOF)


def test_a_script_talks_by_pipes(cli: Cli) -> None:
    """Its input is sent, the answer is printed, the log has the same."""
    log = cli.folder / "console.log"
    result = run(cli, b"\runame\r", "--until", f"(?s)uname.*{PROMPT}", "--log", str(log))
    assert (result.returncode, result.stderr) == (0, b"")
    assert b"virtmesh 0" in result.stdout
    assert log.read_bytes() == result.stdout


def test_a_pattern_that_does_not_come_is_an_error(cli: Cli) -> None:
    """After silence, with what came instead."""
    result = run(cli, b"\r", "--until", "no such text", "--wait", "0.3", "--json")
    error = json.loads(result.stderr)["error"]
    assert (result.returncode, error["reason"]) == (1, "EXPECT_TIMEOUT")
    assert "'no such text'" in error["message"]
    assert "virtmesh> " in error["message"]


def test_closed_output_ends_it(cli: Cli) -> None:
    """As `head` does; with the status of the others."""
    with cli.spawn("console", "--read-only", "--from-start") as process:
        assert process.stdout is not None
        process.stdout.read(10)
        process.stdout.close()
        run(cli, b"\rhelp\r", "--until", PROMPT)
        assert process.wait(SECONDS) == 141


def test_closed_output_of_a_silent_line_ends_it(cli: Cli) -> None:
    """The machine has nothing to say: that nobody reads is noticed all the same."""
    before = watchers(cli)
    with cli.spawn("console", "--read-only") as process:
        assert process.stdout is not None
        eventually(lambda: watchers(cli) > before)
        process.stdout.close()
        assert process.wait(SECONDS) == 141


def test_a_console_that_is_killed_disturbs_nobody(cli: Cli) -> None:
    """The service takes its terminal away; what others type arrives."""
    with console(cli) as stays:
        before = watchers(cli)
        with console(cli) as dies:
            os.kill(dies.pid, signal.SIGKILL)
        eventually(lambda: watchers(cli) == before)
        stays.send("uptime\r")
        stays.expect_exact("uptime")
        stays.expect_exact(PROMPT)


def test_a_console_outlives_the_kernel_service(cli: Cli) -> None:
    """The device goes on, with its scrollback: nothing of the line is lost."""
    with virtmesh_client.connect(cli.state.address) as machine, machine.serial() as port:
        epoch = port.position.epoch
        os.kill(cli.process("kernel").pid, signal.SIGKILL)
        port.expect("Welcome to virtmesh")
        port.expect(PROMPT)
        assert (port.position.epoch, port.restarts, port.missed_bytes) == (epoch, 0, 0)


def test_a_console_outlives_the_device_service(cli: Cli) -> None:
    """Killed with SIGKILL, it comes back, and the terminal sees no more than a pause."""
    with console(cli) as child:
        os.kill(cli.process("serial").pid, signal.SIGKILL)
        child.send("again\r")
        child.expect_exact("again: ")
        child.expect_exact(PROMPT)


@contextlib.contextmanager
def served(cli: Cli, *options: str) -> Iterator[str]:
    """Run a console that serves others; returns the line that says where."""
    with cli.spawn("console", *options) as process:
        assert process.stdout is not None
        yield process.stdout.readline().decode().strip()
        process.terminate()
        assert process.wait(SECONDS) == 0


@pytest.mark.skipif(shutil.which("picocom") is None, reason="picocom is not installed")
def test_picocom_on_the_pty(cli: Cli) -> None:
    """As on the port of a board, twice."""
    link = str(cli.folder / "ttyV0")
    with served(cli, "--pty", link) as path:
        assert path == link
        for _ in range(2):
            with window(cli, "picocom", "--baud", "115200", "--quiet", path) as child:
                talk(child)
                child.send("\x01\x18")
                child.expect(pexpect.EOF)
    assert not os.path.lexists(link)


def talk(child: Any) -> None:
    """Find the prompt and run a command; a terminal program needs a moment to open the port."""
    deadline = time.monotonic() + SECONDS
    while child.expect_exact([PROMPT, pexpect.TIMEOUT], timeout=0.5):
        assert time.monotonic() < deadline
        child.send("\r")
    child.send("lsdev\r")
    child.expect_exact("0x10000000")
    child.expect_exact(PROMPT)


def test_pexpect_on_the_pty(cli: Cli) -> None:
    """Without a program between."""
    with served(cli, "--pty") as path:
        file = os.open(path, os.O_RDWR | os.O_NOCTTY)
        port = pexpect.fdpexpect.fdspawn(file, timeout=SECONDS)
        port.send("\r")
        port.expect_exact(PROMPT)
        port.send("uname\r")
        port.expect_exact("virtmesh 0")
        os.close(file)


def test_pyserial_over_rfc2217(cli: Cli) -> None:
    """With the machine's lines as its own: a driver that is attached asserts DTR and RTS."""
    with (
        served(cli, "--rfc2217", "0") as url,
        pyserial.serial_for_url(url, baudrate=9600, timeout=SECONDS) as port,
    ):
        assert (port.cts, port.dsr, port.cd) == (True, True, True)
        port.write(b"\r")
        assert port.read_until(PROMPT.encode()).endswith(PROMPT.encode())
        port.write(b"uname\r")
        assert b"virtmesh 0" in port.read_until(PROMPT.encode())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--escape", "ctrl-alt-x"], "is not a key"),
        (["--until", "("], "is not a regular expression"),
        (["--rfc2217", "localhost"], "write HOST:PORT"),
        (["--rfc2217", "0.0.0.0:0"], "or add --insecure"),
        (["--pty", "x", "--rfc2217", "0"], "not both"),
        (["--pty", "x", "--read-only"], "--read-only can't be used with --pty"),
        (["--rfc2217", "0", "--log", "x", "--wait", "1"], "--log, --wait can't be used with"),
    ],
)
def test_wrong_usage_says_what_to_write(cli: Cli, options: list[str], words: str) -> None:
    """In one line, with status 2."""
    result = cli("console", *options)
    assert result.returncode == 2
    assert words in result.stderr


def test_a_machine_without_a_port_is_told(cli: Cli) -> None:
    """With the command that lists devices."""
    result = cli("console", "-d", "modem")
    assert result.returncode == 1
    assert "modem" in result.stderr
    assert "virtmesh devices" in result.stderr
