"""Copies broken off by Ctrl-C, a killed device or a closed pipe: what is told, what stays."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.cli import SECONDS, Cli, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    import virtmesh_client

pytestmark = pytest.mark.processes

PIECE = 1 << 20


def written(machine: virtmesh_client.Machine) -> int:
    """Return the bytes that the disk has written."""
    rows = machine.disk("vda").stats().requests
    return sum(row.bytes for row in rows if row.type == "OUT")


@contextlib.contextmanager
def start_import(
    cli: Cli, machine: virtmesh_client.Machine, *options: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Start an import from a pipe; the body runs when 2 MiB of it are on the disk."""
    with cli.spawn("blk", "import", "vda", "-", *options, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(b"x" * (2 * PIECE))
        process.stdin.flush()
        eventually(lambda: written(machine) >= 2 * PIECE)
        yield process


def test_ctrl_c_during_an_import_says_what_is_written(
    cli: Cli, machine: virtmesh_client.Machine
) -> None:
    """And the disk has exactly that."""
    with start_import(cli, machine) as process:
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 130
    assert err.count(b"\n") == 1
    told = re.match(rb"virtmesh: interrupted; (\d+) bytes are written, from offset 0 on", err)
    assert told is not None
    # The last reports of the kernel may still have been on their way.
    assert 0 < int(told[1]) <= 2 * PIECE
    assert machine.disk("vda").read(0, 2 * PIECE) == b"x" * (2 * PIECE)


def test_a_device_killed_during_an_import_is_told_with_what_is_written(
    cli: Cli, machine: virtmesh_client.Machine
) -> None:
    """Without patience; then the device comes back, and the same import succeeds."""
    with start_import(cli, machine, "--json", "--retry-for", "0") as process:
        os.kill(cli.process("vda").pid, signal.SIGKILL)
        _, err = process.communicate(b"y" * PIECE, timeout=SECONDS)
    assert process.returncode == 1
    error = json.loads(err)["error"]
    assert error["reason"] == "DEVICE_LOST"
    done = int(error["metadata"]["written_bytes"])
    assert 0 < done <= 3 * PIECE
    assert f"{done} bytes are written, from offset 0 on" in error["message"]

    eventually(lambda: "ready" in cli("devices").stdout)
    source = cli.folder / "again.img"
    source.write_bytes(b"z" * (3 * PIECE))
    assert cli("blk", "import", "vda", source, "--verify").returncode == 0


def test_an_import_outlives_the_service_of_its_disk(
    cli: Cli, machine: virtmesh_client.Machine
) -> None:
    """It only takes longer, and all of it is there."""
    with start_import(cli, machine, "--verify") as process:
        os.kill(cli.process("vda").pid, signal.SIGKILL)
        _, err = process.communicate(b"y" * PIECE, timeout=SECONDS)
    assert process.returncode == 0, err
    assert machine.disk("vda").read(0, 3 * PIECE) == b"x" * (2 * PIECE) + b"y" * PIECE


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_export_that_is_stopped_leaves_no_file(
    cli: Cli, machine: virtmesh_client.Machine, number: signal.Signals
) -> None:
    """Neither the final name nor a temporary one."""
    machine.disk("vda").resize(4 << 30)
    machine.disk("vda").write(0, b"x" * PIECE)
    with cli.spawn("blk", "export", "vda", "out.img") as process:
        eventually(lambda: any(path.stat().st_size for path in cli.folder.glob(".*.partial")))
        process.send_signal(number)
        _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 130
    assert b"virtmesh: interrupted; " in err
    assert b"bytes are read" in err
    assert not (cli.folder / "out.img").exists()
    assert not list(cli.folder.glob(".*.partial"))


@pytest.mark.usefixtures("machine")
def test_a_reader_that_goes_away_ends_the_command_quietly(cli: Cli) -> None:
    """As SIGPIPE would: no traceback, no message."""
    with cli.spawn("blk", "read", "vda", "--length", "8M") as process:
        assert process.stdout is not None
        process.stdout.read(1)
        process.stdout.close()
        assert process.stderr is not None
        err = process.stderr.read()
        process.wait(timeout=SECONDS)
    assert (process.returncode, err) == (141, b"")


@pytest.mark.usefixtures("machine")
def test_an_image_flows_through_pipes(cli: Cli) -> None:
    """`export - | import -`, byte for byte."""
    content = os.urandom(PIECE + 17)
    with cli.spawn("blk", "import", "vda", "-", "--json", stdin=subprocess.PIPE) as process:
        out, _ = process.communicate(content, timeout=SECONDS)
    assert json.loads(out)["bytes"] == len(content)
    with cli.spawn("blk", "export", "vda", "-", "--length", str(len(content))) as process:
        out, err = process.communicate(timeout=SECONDS)
    assert out == content
    assert b"exported" in err


@pytest.mark.usefixtures("machine")
def test_a_pipe_longer_than_the_disk_fails_at_its_end(cli: Cli) -> None:
    """What fits is written, and the error says how much that is."""
    with cli.spawn("blk", "import", "vda", "-", stdin=subprocess.PIPE) as process:
        _, err = process.communicate(b"x" * (16 * PIECE + 512), timeout=SECONDS)
    assert process.returncode == 1
    assert b"bytes are written, from offset 0 on" in err
    assert b"blk resize" in err


def test_an_image_truncated_under_the_device_is_an_io_error(
    cli: Cli, machine: virtmesh_client.Machine
) -> None:
    """The device lives on."""
    os.truncate(cli.folder / "disk.img", 4096)
    result = cli("blk", "read", "vda", "--offset", "8M", "--length", "4K")
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert machine.devices()[0].state == "ready"
