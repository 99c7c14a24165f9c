"""How a guest is run and ended, at a terminal and with a script; a shell of this host is one."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import termios
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pexpect

from tests.support.cli import SECONDS
from virtmesh_client.guest.reaper import ended

BOOTED = "echo 'virtmesh guest: booted'; "
SIZE = (33, 77)
ALL_BYTES = bytes(range(256)) * 4096


def program(function: str, guest: str, timeout: float | None = None) -> list[str]:
    """Return the command of a process that runs a guest; its exit status is the result."""
    code = f"""
        import sys
        from virtmesh_common.errors import GuestError
        from virtmesh_client.guest.run import {function}
        try:
            sys.exit({function}(["sh", "-c", {guest!r}], {timeout}))
        except GuestError as error:
            sys.exit(f"error: {{error}}")
        except KeyboardInterrupt:
            sys.exit(130)
    """
    return [sys.executable, "-c", textwrap.dedent(code)]


def run_script(guest: str, timeout: float | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run a guest that has a script, without standard input."""
    return subprocess.run(
        program("run_script", guest, timeout),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=SECONDS,
    )


def processes_with(text: str) -> Iterator[int]:
    """Find the processes that have a text among their arguments."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if text.encode() in (folder / "cmdline").read_bytes():
                yield int(folder.name)


def at_terminal(guest: str) -> pexpect.spawn[str]:
    """Run a guest at a terminal."""
    command, *arguments = program("run_at_terminal", guest)
    return pexpect.spawn(command, arguments, encoding="utf-8", dimensions=SIZE, timeout=SECONDS)


def test_a_script_has_its_output_its_errors_and_its_status() -> None:
    """What the guest says as it boots is kept back; lines end as in files."""
    ran = run_script(f"echo noise; {BOOTED}echo wrong >&2; echo right >&3; echo 7 >&4")

    assert (ran.stdout, ran.stderr, ran.returncode) == (b"right\n", b"wrong\n", 7)


def test_the_output_of_a_script_is_carried_byte_for_byte(tmp_path: Path) -> None:
    """A megabyte of all bytes there are."""
    file = tmp_path / "bytes"
    file.write_bytes(ALL_BYTES)

    ran = run_script(f"{BOOTED}cat {file} >&3; echo 0 >&4")

    assert (ran.stdout == ALL_BYTES, ran.returncode) == (True, 0)


def test_a_guest_that_does_not_boot_shows_what_it_said() -> None:
    """Its console comes before the error."""
    ran = run_script("echo no such disk")

    assert ran.stderr.startswith(b"no such disk\nerror: the guest did not boot")


def test_a_guest_that_ends_under_its_script_says_so() -> None:
    """No status is an error, not success."""
    ran = run_script(BOOTED)

    assert ran.stderr.startswith(b"error: the guest ended before its script")


def test_all_processes_of_a_guest_end_with_it(tmp_path: Path) -> None:
    """A helper that it leaves behind is killed too, even when it ignores SIGTERM."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    # It keeps the pipe open for as long as it lives.
    helper = f"(trap '' TERM; exec 3<>{fifo}; echo up >&3; cat {fifo} >/dev/null) & sleep 600"

    ran = run_script(helper, timeout=1)

    assert b"error: the guest still ran after 1 s" in ran.stderr
    assert list(processes_with(str(fifo))) == []


def test_a_guest_ends_with_a_runner_that_is_killed() -> None:
    """Even when it ignores the hang-up of its console, as user-mode Linux does."""
    guest = f"trap '' HUP; {BOOTED}echo pid $$ >&2; exec sleep 600"
    with subprocess.Popen(program("run_script", guest), stderr=subprocess.PIPE) as runner:
        assert runner.stderr is not None
        handle = os.pidfd_open(int(runner.stderr.readline().split()[1]))

        runner.kill()

        assert ended(handle, SECONDS)
        os.close(handle)


def test_a_guest_that_fails_says_so() -> None:
    """At a terminal, its exit status is told."""
    runner = at_terminal("exit 3")

    runner.expect("error: the guest ended with exit status 3")


def test_ctrl_c_stops_a_guest_that_boots() -> None:
    """Nobody reads the console yet: the terminal is as it was."""
    runner = at_terminal("echo booting; sleep 600")
    runner.expect("booting")

    runner.sendcontrol("c")

    runner.expect(pexpect.EOF)
    runner.close()
    assert runner.exitstatus == 130


def test_every_key_goes_to_a_guest_that_is_up() -> None:
    """Ctrl-C is a byte."""
    runner = at_terminal(BOOTED + "echo up; head -c 1 | od -A n -t o1")
    runner.expect("up")

    runner.sendcontrol("c")

    runner.expect("003")


def test_ctrl_bracket_three_times_stops_a_guest() -> None:
    """The way out of one that does not answer; twice is for the guest."""
    runner = at_terminal(BOOTED + "echo up; stty raw -echo; head -c 2 | od -A n -t o1; sleep 600")
    runner.expect("up")

    runner.send("\x1d\x1d")
    runner.expect("035 035")
    runner.send("\x1d")

    runner.expect(pexpect.EOF)
    runner.close()
    assert runner.exitstatus == 130


def test_a_guest_has_the_size_of_the_window() -> None:
    """From its start on, and when the window changes."""
    runner = at_terminal(BOOTED + "stty size; read key; stty size")
    runner.expect("33 77")

    runner.setwinsize(44, 88)
    runner.send("\n")

    runner.expect("44 88")


def test_the_terminal_is_as_it_was_afterwards() -> None:
    """Raw while the guest is up, also when the command is interrupted by a signal."""
    runner = at_terminal(BOOTED + "echo up; sleep 600")
    before = termios.tcgetattr(runner.child_fd)
    runner.expect("up")
    during = termios.tcgetattr(runner.child_fd)

    runner.kill(signal.SIGINT)

    runner.expect(pexpect.EOF)
    assert during != before
    assert termios.tcgetattr(runner.child_fd) == before


def test_a_guest_that_was_started_in_the_background_can_be_fetched(tmp_path: Path) -> None:
    """It waits for the terminal when it is up, and has every key then."""
    guest = BOOTED + "echo up; head -c 1 | od -A n -t o1"
    job = tmp_path / "job"
    job.write_text(shlex.join(["exec", *program("run_at_terminal", guest)]))
    shell = pexpect.spawn(
        "bash",
        ["--norc", "-m", "-c", f"bash {job} & wait; echo stopped; fg"],
        encoding="utf-8",
        timeout=SECONDS,
    )
    shell.expect("stopped")

    shell.expect("up")
    shell.sendcontrol("c")

    shell.expect("003")
