"""`virtmesh top` on machines of real processes: once, live on a terminal, and for programs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator

import pexpect
import pytest

from tests.support.cli import SECONDS, Cli, own_folder
from virtmesh_client import connect
from virtmesh_client.top import Sampler

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def machine() -> Iterator[Cli]:
    """Start a machine with a disk and a keyboard."""
    with own_folder() as cli:
        cli.up("--disk", "disk.img,size=16M", "--input", "keyboard", "--no-serial")
        yield cli


def terminal(cli: Cli) -> pexpect.spawn[bytes]:
    """Start `virtmesh top` on a terminal of 80 columns."""
    return pexpect.spawn(
        sys.executable,
        ["-m", "virtmesh_client", "top", "--interval", "200ms"],
        dimensions=(20, 80),
        env={**os.environ, "VIRTMESH_RUN_DIR": str(cli.run_dir), "TERM": "xterm"},
        timeout=SECONDS,
    )


def test_once_prints_one_plain_table(machine: Cli) -> None:
    """For scripts: no terminal is needed."""
    result = machine("top", "--once", "--interval", "200ms")
    assert result.returncode == 0
    _, header, disk, keyboard, *details = result.stdout.splitlines()
    assert header.split()[:4] == ["DEVICE", "STATE", "REQ/s", "BYTES/s"]
    assert [disk.split()[:2], keyboard.split()[:2]] == [["vda", "ready"], ["keyboard", "ready"]]
    assert "VirtIOBlk DRIVER_OK" in details[0]
    assert "\x1b" not in result.stdout


def test_each_device_is_sampled_at_its_own_time(machine: Cli) -> None:
    """They are asked one after the other."""
    with connect(machine.state.address) as connection:
        disk, keyboard = Sampler(connection).take().devices
    assert (disk.gone, keyboard.gone) == ("", "")
    assert disk.time < keyboard.time


def test_what_a_disk_does_is_counted(machine: Cli) -> None:
    """Requests, bytes, interrupts and latencies, over an interval in which all of them happened."""
    with machine.spawn("top", "--interval", "200ms", "--json") as top:
        assert top.stdout is not None
        top.stdout.readline()
        assert machine("blk", "export", "vda", "copy.img", "--force").returncode == 0
        busy = None
        while busy is None:
            disk, _ = json.loads(top.stdout.readline())["devices"]
            busy = disk if disk["requests"] else None
    assert busy["bytes"] >= 512
    assert busy["notifications"] > 0
    assert 0 < busy["p50_ns"] <= busy["p99_ns"]


def test_the_live_view_is_drawn_again_and_again_until_q(machine: Cli) -> None:
    """And gives the terminal back."""
    with terminal(machine) as top:
        for _ in range(2):
            top.expect(b"vda")
            top.expect(b"sorted by address")
        top.send(b"s")
        top.expect(b"sorted by name")
        top.send(b"q")
        top.expect(rb"\x1b\[\?1049l")
        top.expect(pexpect.EOF)
    assert top.exitstatus == 0


def test_keys_go_to_the_page_of_a_device(machine: Cli) -> None:
    """And back; the page has every rate of the device, and its own figures."""
    with terminal(machine) as top:
        top.expect(b"sorted by address")
        top.send(b"\x1b[C")
        top.expect(b"register accesses")
        top.expect(b"WRITE_ZEROES")
        top.expect(b"0 shows all devices")
        top.send(b"2")
        top.expect(b"VirtIOInput")
        top.expect(b"refused")
        top.send(b"0")
        top.expect(b"sorted by address")
        top.send(b"q")
        top.expect(pexpect.EOF)
    assert top.exitstatus == 0


def test_ctrl_c_ends_the_live_view_in_order(machine: Cli) -> None:
    """No trace of it is left on the terminal."""
    with terminal(machine) as top:
        top.expect(b"vda")
        top.sendintr()
        top.expect(rb"\x1b\[\?1049l")
        top.expect(pexpect.EOF)
    assert top.exitstatus == 0
    assert b"Traceback" not in (top.before or b"")


def test_a_machine_that_goes_away_and_comes_back_is_shown(cli: Cli) -> None:
    """What it was last seen to do stays on the screen meanwhile."""
    cli.up("--disk", "disk.img,size=16M", "--no-serial")
    with terminal(cli) as top:
        top.expect(b"vda")
        assert cli("down").returncode == 0
        top.expect(b"no answer: ")
        top.expect(b"vda")
        cli.up("--disk", "disk.img,size=16M", "--no-serial")
        top.expect(rb"kernel\.sock[^\n]*\n[^\n]*DEVICE")  # no line in between says otherwise
        top.send(b"q")
        top.expect(pexpect.EOF)
    assert top.exitstatus == 0


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        ([], 2, "--once"),
        (["--once", "--interval", "1ms"], 2, "0.1s"),
        (["--once", "--address", "unix:/nonexistent/kernel.sock"], 3, "no service answers"),
    ],
)
def test_what_is_wrong_is_said(machine: Cli, arguments: list[str], status: int, says: str) -> None:
    """In one line, with the mend."""
    result = machine("top", *arguments)
    assert (result.returncode, says in result.stderr) == (status, True)
