"""Running checkers over states: what they get, what they may do, and how they end."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import pytest

from tests.support.write_logs import SECTOR, LogMaker
from virtmesh_client.powerloss import (
    PowerLossOptions,
    PowerLossReport,
    build_state,
    check_power_loss,
)
from virtmesh_common.blk.errors import CheckerFailed

SECTORS = 16
OPTIONS = PowerLossOptions(seed=3, tear="none")
IN_ORDER = """
import os, sys
data = open(sys.argv[1], "rb").read()
a, b = data[0] == 97, data[512] == 98
sys.exit(b and not a)
"""
"""Refuses what has the second write without the first."""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Make a disk of dots."""
    path = tmp_path / "base.img"
    path.write_bytes(b"." * SECTOR * SECTORS)
    return path


def log_of(tmp_path: Path, base: Path, *, flush: bool) -> Path:
    """Record two writes, with a flush between them or without."""
    maker = LogMaker(SECTORS)
    maker.write(0, b"a" * SECTOR)
    if flush:
        maker.flush()
    maker.mark("first")
    maker.write(1, b"b" * SECTOR)
    return maker.save(tmp_path / "disk.log", base)


def check(log: Path, base: Path, script: str, **how: object) -> PowerLossReport:
    """Check with a script of Python."""
    command = [sys.executable, "-c", script, "{}"]
    return check_power_loss(log, base, command, OPTIONS, **how)  # type: ignore[arg-type]


def test_a_missing_flush_is_found_and_its_state_is_made_again(tmp_path: Path, base: Path) -> None:
    """The second write may be there without the first, unless a flush is between them."""
    good = check(log_of(tmp_path, base, flush=True), base, IN_ORDER)
    assert (good.violation_count, good.base_status) == (0, 0)

    log = log_of(tmp_path, base, flush=False)
    bad = check(log, base, IN_ORDER)

    assert (bad.violation_count, bad.distinct_states, bad.seed) == (1, 4, 3)
    (found,) = bad.violations
    assert (found.exit_status, found.mark) == (1, "first")
    assert found.writes == (
        "entry 0, sectors 0 to 0: lost",
        "entry 2, sectors 1 to 1: written",
    )
    output = tmp_path / "again.img"
    build_state(log, base, found.state, output, OPTIONS)
    content = output.read_bytes()
    assert (content[:1], content[SECTOR : SECTOR + 1]) == (b".", b"b")
    assert len(content) == SECTORS * SECTOR
    with pytest.raises(ValueError, match="from 0 on"):
        build_state(log, base, 99, output, OPTIONS)


def test_a_checker_may_change_its_image(tmp_path: Path, base: Path) -> None:
    """The next state does not have the changes: as when a journal is replayed."""
    script = """
import sys
with open(sys.argv[1], "r+b") as image:
    data = image.read()
    image.seek(0); image.write(b"!" * 8192)
sys.exit(b"!" in data)
"""
    report = check(log_of(tmp_path, base, flush=False), base, script, jobs=1)
    assert (report.violation_count, report.checks) == (0, 6)
    shorter = check(
        log_of(tmp_path, base, flush=False), base, "import os, sys; os.remove(sys.argv[1])"
    )
    assert shorter.violation_count == 0


def test_the_environment_names_image_mark_and_state(tmp_path: Path, base: Path) -> None:
    """For checkers that take no arguments."""
    seen = tmp_path / "seen"
    script = f"""
import os
e = os.environ
assert open(e["VIRTMESH_IMAGE"], "rb").read(1)
with open({str(seen)!r}, "a") as file:
    file.write(e["VIRTMESH_STATE"] + "," + e["VIRTMESH_MARK"] + "\\n")
"""
    report = check(log_of(tmp_path, base, flush=True), base, script)
    assert report.violation_count == 0
    lines = seen.read_text().splitlines()
    assert lines[0] == "base,"
    assert {line.partition(",")[2] for line in lines[1:]} == {"", "first"}


def test_a_checker_that_hangs_is_ended_with_its_children(tmp_path: Path, base: Path) -> None:
    """At its deadline: its state is refused."""
    pids = tmp_path / "pids"
    script = f"""
import os, subprocess, sys, time
child = subprocess.Popen(["sleep", "1000"])
with open({str(pids)!r}, "a") as file:
    file.write(f"{{child.pid}}\\n")
time.sleep(1000)
"""
    report = check(log_of(tmp_path, base, flush=True), base, script, deadline=0.5, first_only=True)
    assert report.violation_count >= 1
    assert report.violations[0].exit_status is None
    for pid in pids.read_text().split():
        assert is_gone(int(pid))


def is_gone(pid: int) -> bool:
    """Wait until a process is gone; nobody here reaps it."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
    return False


def test_a_checker_that_is_not_there_is_named_before_anything_is_made(
    tmp_path: Path, base: Path
) -> None:
    """And so is one that a shell does not find."""
    log = log_of(tmp_path, base, flush=True)
    with pytest.raises(CheckerFailed, match=r"no-such-checker: no such command: install it"):
        check_power_loss(log, base, ["no-such-checker", "{}"], OPTIONS)
    with pytest.raises(CheckerFailed, match="exits with 127"):
        check_power_loss(log, base, ["sh", "-c", "no-such-checker {}"], OPTIONS)


def test_a_checker_that_writes_without_end_takes_no_memory(tmp_path: Path, base: Path) -> None:
    """The end of its output is kept."""
    script = "import sys; [print('x' * 1000) for _ in range(5000)]; print('last'); sys.exit(3)"
    report = check(log_of(tmp_path, base, flush=True), base, script, first_only=True)
    assert report.base_status == 3
    assert len(report.violations[0].output) <= 4096
    assert report.violations[0].output.endswith("last\n")


def test_an_interruption_ends_the_checkers_and_leaves_no_files(tmp_path: Path, base: Path) -> None:
    """Ctrl-C raises KeyboardInterrupt in the caller."""
    room = tmp_path / "room"
    room.mkdir()
    started = threading.Event()

    def interrupt(tried: int, total: int, violations: int) -> None:
        del tried, total, violations
        started.set()
        raise KeyboardInterrupt

    log = log_of(tmp_path, base, flush=True)
    with pytest.raises(KeyboardInterrupt):
        check_power_loss(
            log,
            base,
            [
                sys.executable,
                "-c",
                "import os, time; os.environ['VIRTMESH_STATE'] == 'base' or time.sleep(1000)",
            ],
            OPTIONS,
            folder=room,
            progress=interrupt,
        )
    assert started.is_set()
    assert not list(room.iterdir())
    assert [one.name for one in tmp_path.glob("*.img")] == ["base.img"]
