"""One identifier from the command line to the log of the device."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

from tests.support.cli import Cli, eventually

pytestmark = pytest.mark.processes


def lines_of(log: Path, request_id: str) -> list[str]:
    """Return the lines of a log about a request, without those of the audit.

    A service writes them after it has answered.
    """
    lines = log.read_text().splitlines()
    about = [line for line in lines if f"request_id={request_id}" in line]
    return [line for line in about if "method=" in line]


def has_lines(log: Path, request_id: str, count: int) -> bool:
    """Say whether a log has so many lines about a request."""
    return len(lines_of(log, request_id)) == count


def test_a_request_is_found_in_the_logs_of_kernel_and_device(cli: Cli) -> None:
    """A call that the kernel forwards is logged by both, by the name that its client gave it."""
    cli.up("--disk", "disk.img,size=16M")

    done = cli("--request-id", "backup-7", "blk", "info", "vda")

    assert done.returncode == 0
    for name in ("kernel", "vda"):
        log = cli.run_dir / f"{name}.log"
        eventually(partial(lines_of, log, "backup-7"))
        assert "code=OK" in lines_of(log, "backup-7")[0]


def test_an_error_says_which_request_it_was_when_asked(cli: Cli) -> None:
    """With --verbose only; the logs of kernel and device say the same, and why it was refused."""
    cli.up("--disk", "disk.img,size=16M")
    command = ("--request-id", "shrink.1", "blk", "resize", "vda", "1M")

    short, verbose, data = cli(*command), cli(*command, "-v"), cli(*command, "-v", "--json")

    assert "shrink.1" not in short.stderr
    assert verbose.stderr.strip().endswith("; request shrink.1")
    assert json.loads(data.stderr)["error"]["metadata"]["request_id"] == "shrink.1"
    for name in ("kernel", "vda"):
        log = cli.run_dir / f"{name}.log"
        eventually(partial(has_lines, log, "shrink.1", 3))
        assert "code=FAILED_PRECONDITION" in lines_of(log, "shrink.1")[0]


def test_every_command_line_has_an_identifier_of_its_own(cli: Cli) -> None:
    """Without the option one is made up, that a log can be searched for."""
    cli.up("--disk", "disk.img,size=16M")
    first, second = (
        json.loads(cli("blk", "resize", "vda", "1M", "-v", "--json").stderr)["error"]["metadata"]
        for _ in range(2)
    )

    assert first["request_id"] != second["request_id"]
    eventually(lambda: lines_of(cli.run_dir / "vda.log", first["request_id"]))


@pytest.mark.parametrize("hostile", ["", "a b", "x" * 65])
def test_an_identifier_that_is_none_is_refused(cli: Cli, hostile: str) -> None:
    """Before anything is sent; the message says what one looks like."""
    done = cli("--request-id", hostile, "devices")

    assert done.returncode == 2
    assert "1 to 64 letters" in done.stderr
