"""What a power loss leaves of an import: from the moment when it is reported done, everything."""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import virtmesh_client
from tests.support import mark_checker
from tests.support.cli import eventually
from virtmesh_client.powerloss import PowerLossOptions, check_power_loss, read_log
from virtmesh_common.blk.errors import BlockIOError, NotRecording, NotResizable
from virtmesh_common.printable import say

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.cli import Cli
    from virtmesh_client.powerloss import PowerLossReport

pytestmark = pytest.mark.processes

MIB = 1 << 20
CHECKER = (sys.executable, str(Path(mark_checker.__file__)), "{}")


@pytest.fixture
def recorded(cli: Cli) -> Iterator[virtmesh_client.Machine]:
    """Start a machine whose disk records, with files to import."""
    folder = cli.folder
    (folder / "base.img").write_bytes(b"\x11" * (4 * MIB))
    (folder / "disk.img").write_bytes((folder / "base.img").read_bytes())
    for name, size in (("first", 700_000), ("second", 1 << 20), ("third", 3000)):
        (folder / name).write_bytes(os.urandom(size))
    cli.up("--disk", "disk.img,write-log=disk.log")
    with virtmesh_client.connect(cli.state.address) as machine:
        yield machine


def run(cli: Cli, *arguments: object) -> None:
    """Run a command that has to succeed."""
    done = cli(*arguments)
    assert (done.returncode, done.stderr) == (0, "")


def imported(cli: Cli, *options: str) -> None:
    """Import files one after the other, and mark each when it is reported done."""
    promises: list[str] = []
    places = (("first", 0), ("second", MIB), ("third", 2 * MIB + 512), ("first", 3 * MIB))
    for name, offset in places:
        run(cli, "blk", "import", "vda", name, "--offset", offset, *options)
        promises.append(f"{name} {offset}")
        run(cli, "blk", "mark", "vda", ",".join(promises))


def check(cli: Cli, what: str) -> PowerLossReport:
    """Try power losses, and print the figures."""
    folder = cli.folder
    options = PowerLossOptions(seed=5, samples=16, limit=80)
    command = [*CHECKER, str(folder)]
    report = check_power_loss(folder / "disk.log", folder / "base.img", command, options)
    say(
        f"\n{what}: {report.writes} writes, {report.flushes} flushes, {report.marks} marks;"
        f" {report.states} states tried, {report.distinct_states} distinct,"
        f" {report.violation_count} violations, seed {report.seed}, {report.seconds:.1f} s"
    )
    return report


@pytest.mark.usefixtures("recorded")
def test_an_import_that_is_reported_done_is_there_after_each_power_loss(cli: Cli) -> None:
    """By its flush, whatever comes later: also when something else is being imported."""
    imported(cli)

    report = check(cli, "import")

    assert report.violation_count == 0, report.violations[:2]
    assert (report.marks, report.runs, report.base_status) == (4, 1, 0)
    assert report.distinct_states > 20


@pytest.mark.usefixtures("recorded")
def test_an_import_without_a_flush_is_not(cli: Cli) -> None:
    """The check can find something: there is no promise without a flush."""
    imported(cli, "--no-flush")
    assert check(cli, "import --no-flush").violation_count > 0


def test_an_import_to_a_disk_that_lies_is_not(cli: Cli, recorded: virtmesh_client.Machine) -> None:
    """Its flushes complete, and make nothing durable."""
    fault = recorded.faults("vda").add("lost-flush")
    imported(cli)
    assert recorded.faults("vda").list()[0].hits >= 4, fault

    report = check(cli, "import to a disk that lies")

    assert report.flushes == 0
    assert report.violation_count > 0
    assert "is not whole" in report.violations[0].output


def test_an_import_outlives_a_death_of_the_disk_and_then_power_losses(
    cli: Cli, recorded: virtmesh_client.Machine
) -> None:
    """The service goes on with its log; the requests that it had are submitted again."""
    imported(cli)
    os.kill(cli.process("vda").pid, signal.SIGKILL)
    recorded.disk("vda").write(2 * MIB + 65536, b"x" * 4096)
    run(cli, "blk", "import", "vda", "third", "--offset", 2 * MIB + 8192)
    run(cli, "blk", "mark", "vda", f"third {2 * MIB + 8192},first {3 * MIB}")

    report = check(cli, "import after kill -9")

    assert (report.violation_count, report.runs, report.marks) == (0, 2, 5)


def test_the_command_reports_violations_and_makes_their_states_again(
    cli: Cli, recorded: virtmesh_client.Machine
) -> None:
    """With the exit status 4, for people and as JSON."""
    disk = recorded.disk("vda")
    disk.write(0, b"a" * 512)
    disk.write(512, b"b" * 512)
    folder = cli.folder
    script = "import sys; d = open(sys.argv[1], 'rb').read(513); sys.exit(d[512] == 98 != d[0] + 1)"
    command = ["blk", "powerloss-check", "disk.log", "--image", "base.img", "--tear", "none"]
    checker = ["--", sys.executable, "-c", script, "{}"]

    done = cli(*command, "--json", "--seed", 9, *checker)
    said = cli(*command, "--seed", 9, *checker)

    assert done.returncode == said.returncode == 4
    report = json.loads(done.stdout)
    (violation,) = report["violations"]
    assert (report["states"], report["distinct_states"]) == (4, 4)
    assert "4 states tried, 4 distinct, 1 violations, seed 9" in said.stdout
    (again,) = [line for line in said.stdout.splitlines() if "made again by: " in line]
    words = again.partition("made again by: virtmesh ")[2].split()
    run(cli, *words)
    content = (folder / f"state-{violation['state']}.img").read_bytes()
    assert (content[:1], content[512:513], len(content)) == (b"\x11", b"b", 4 * MIB)


def test_marks_resizes_and_disks_that_do_not_record(
    cli: Cli, recorded: virtmesh_client.Machine
) -> None:
    """Each error says what to do."""
    disk = recorded.disk("vda")
    assert disk.info().image.write_log.endswith("disk.log")
    assert disk.mark("ready") >= 2
    with pytest.raises(NotResizable, match="start it without write-log"):
        disk.resize(8 * MIB)
    for text in ("", "x" * 256, "a\nb", "virtmesh:own"):
        assert cli("blk", "mark", "vda", text).returncode == 1
    assert [one.text for one in read_log(cli.folder / "disk.log").marks] == ["ready"]
    run(cli, "down")
    cli.up("--disk", "disk.img")
    with (
        virtmesh_client.connect(cli.state.address) as machine,
        pytest.raises(NotRecording, match="write-log=FILE"),
    ):
        machine.disk("vda").mark("x")


def fill(disk: virtmesh_client.Disk) -> None:
    """Write 4 MiB, over and over the same place."""
    for _ in range(64):
        disk.write(65536, b"b" * 65536)


def test_a_log_that_is_full_fails_the_disk_and_says_so(cli: Cli) -> None:
    """Nothing is left out in silence: the client, the log, and `blk info` say why."""
    folder = cli.folder
    (folder / "disk.img").write_bytes(bytes(MIB))
    cli.up("--disk", "disk.img,write-log=disk.log")
    with virtmesh_client.connect(cli.state.address) as machine:
        disk = machine.disk("vda")
        disk.write(0, b"a" * 4096)
        disk.flush()
        pid = cli.process("vda").pid
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (MIB, MIB))
        with pytest.raises(BlockIOError) as caught:
            fill(disk)
        assert caught.value.metadata["cause"] == "NOT_RECORDED"
        with pytest.raises(BlockIOError) as caught:
            disk.flush()
        assert caught.value.metadata["cause"] == "NOT_RECORDED"
        with pytest.raises(BlockIOError) as caught:
            disk.discard(0, 4096)
        assert caught.value.metadata["cause"] == "NOT_RECORDED"
        assert disk.read(0, 4) in {b"aaaa", b"bbbb"}
        eventually(lambda: "lacks a write" in disk.info().image.trouble)
        assert "make room, and start the disk with a new log" in disk.info().image.trouble
        # What is in the log is whole.
        assert read_log(folder / "disk.log").flushes
