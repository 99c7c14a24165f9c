"""Ctrl-C, SIGTERM and a broken standard output, at any moment of a command: one line at most."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from virtmesh_client.testing import FakeKernel

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.processes

STEPS = 20
SECONDS = 30.0
OURS = re.compile(r'virtmesh_client/.*", line \d+, in (?!<module>)')
"""A line of a traceback in our code. Python can print one while it starts, and looks for it."""
CLOSED = 141


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Start a kernel with a disk."""
    with FakeKernel(vda=1 << 20) as kernel:
        yield kernel.address


def start(address: str, *arguments: str, stdout: int = subprocess.PIPE) -> subprocess.Popen[str]:
    """Start a command."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "virtmesh_client", "--address", address, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
    )


def interrupt(process: subprocess.Popen[str], number: signal.Signals) -> tuple[int, str]:
    """Send a signal; return exit status and standard error."""
    with process:
        process.send_signal(number)
        _, errors = process.communicate(timeout=SECONDS)
    return process.returncode, errors


@pytest.mark.parametrize(
    ("arguments", "number"),
    [
        (["--version"], signal.SIGINT),
        (["devices"], signal.SIGINT),
        (["blk", "read", "vda", "--hex"], signal.SIGTERM),
    ],
    ids=["--version", "devices", "blk read"],
)
def test_a_signal_at_any_moment_is_one_line(
    address: str, arguments: list[str], number: signal.Signals
) -> None:
    """From the start of the process to its end, in fine steps."""
    begin = time.monotonic()
    start(address, *arguments).communicate(timeout=SECONDS)
    length = time.monotonic() - begin
    outcomes = Counter[int]()
    for step in range(STEPS):
        process = start(address, *arguments)
        time.sleep(length * step / STEPS)
        status, errors = interrupt(process, number)
        outcomes[status] += 1
        assert not OURS.search(errors), errors
        own = [line for line in errors.splitlines() if line.startswith("virtmesh")]
        # How much of a copy was done may stand behind it.
        assert len(own) <= 1, errors
        assert all(line.startswith("virtmesh: interrupted") for line in own), errors
    # 1 is the status of a Python that was still starting itself.
    assert set(outcomes) <= {0, 1, 130, -number}
    assert outcomes[130] + outcomes[-number] > STEPS // 4


HANGING = """
import os, sys, time
from virtmesh_client.cli import signals
from virtmesh_client.cli.main import main
import virtmesh_client.cli.run as module

signals.GRACE_SECONDS = float(sys.argv.pop(1))

def run(arguments):
    try:
        os.write(1, b"begun\\n")  # A flush that is interrupted would be done again.
        time.sleep(60)
    finally:
        time.sleep(60 if arguments == ["hang"] else 0.3)
        print("tidied up", flush=True)
    return 0

module.run = run
main()
"""


@pytest.mark.parametrize(
    ("grace", "what", "out", "err"),
    [
        ("5", "tidy", ["tidied up\n"], ""),
        ("0", "hang", [], "virtmesh: interrupted, and ended before all was tidied up\n"),
    ],
    ids=["hammered while it tidies up", "again when it hangs"],
)
def test_ctrl_c_twice(grace: str, what: str, out: list[str], err: str) -> None:
    """It leaves the tidying up alone for a while; after that it ends the process at once."""
    with subprocess.Popen(
        [sys.executable, "-c", HANGING, grace, what],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGINT)
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        assert process.wait(SECONDS) == 130
        assert process.stdout.readlines() == out
        assert process.stderr.read() == err


SWALLOWED = """
import os, signal, time
from virtmesh_client.cli.main import main
import virtmesh_client.cli.run as module

class Finalized:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):
            pass

def run(arguments):
    Finalized()
    time.sleep(30)
    return 0

module.run = run
main()
"""


def test_ctrl_c_in_a_finalizer_is_not_lost() -> None:
    """Python prints and drops an exception there; the command is interrupted behind it."""
    done = subprocess.run(
        [sys.executable, "-c", SWALLOWED], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (130, "")


LOST = """
import os, signal, time
from virtmesh_client.cli import signals
from virtmesh_client.cli.main import main
import virtmesh_client.cli.run as module

signals.TIDY_SECONDS, signals.AGAIN_SECONDS = 0.5, 60.0

class Finalized:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):
            pass

def run(arguments):
    Finalized()
    for _ in range(2):
        try:
            time.sleep(20)
        except KeyboardInterrupt:
            pass
    return 0

module.run = run
main()
"""


def test_a_lost_interrupt_ends_the_process_in_time() -> None:
    """The limit for tidying up holds also where Python swallowed the first interrupt."""
    done = subprocess.run(
        [sys.executable, "-c", LOST], capture_output=True, text=True, check=False, timeout=SECONDS
    )
    assert (done.returncode, done.stderr) == (
        130,
        "virtmesh: interrupted, and ended before all was tidied up\n",
    )


@pytest.mark.parametrize(
    "arguments", [["devices"], ["--help"], ["--version"], ["blk"]], ids=" ".join
)
def test_a_full_output_is_one_line(address: str, arguments: list[str]) -> None:
    """With its name; Python's own end does not try again."""
    with (
        Path("/dev/full").open("w") as full,
        start(address, *arguments, stdout=full.fileno()) as done,
    ):
        _, errors = done.communicate(timeout=SECONDS)
    if arguments == ["blk"]:  # the help of a group without a command is on standard error
        assert (done.returncode, errors.partition("\n")[0]) == (
            2,
            "Usage: virtmesh blk [OPTIONS] COMMAND [ARGS]...",
        )
        return
    assert done.returncode == 1
    assert errors == "virtmesh: standard output: No space left on device\n"


@pytest.mark.parametrize(
    "arguments", [["devices"], ["--help"], ["--version"], ["blk", "read", "vda"]]
)
def test_an_output_that_nobody_reads_is_silent(address: str, arguments: list[str]) -> None:
    """The exit status says it, as that of a process which SIGPIPE ended."""
    process = start(address, *arguments)
    assert process.stdout is not None
    process.stdout.close()
    with process:
        _, errors = process.communicate(timeout=SECONDS)
    assert (process.returncode, errors) == (CLOSED, "")


def test_closed_files_are_no_error(address: str) -> None:
    """As a daemon starts a command."""
    command = f'exec "{sys.executable}" -P -m virtmesh_client --address "{address}" devices'
    for closed in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
        done = subprocess.run(
            ["/bin/sh", "-c", f"{command} {closed}"], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, ""), closed
