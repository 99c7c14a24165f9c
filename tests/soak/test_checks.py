"""The checks of a soak find what they are for, and nothing else."""

from __future__ import annotations

import fcntl
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.soak.expectations import is_expected
from tests.soak.gate import Gate
from tests.soak.journal import Journal
from tests.soak.leaks import judge, level
from tests.soak.leftovers import leftovers
from tests.soak.machine import Life
from tests.soak.page_cache import dirty_pages
from tests.soak.plan import DEVICES, EPOCH_ROUNDS, make_plan
from tests.soak.resources import Sample
from tests.soak.sectors import ANYTHING, SECTOR, Sectors, content
from virtmesh_client.local.rundir import start_ticks
from virtmesh_common.blk.errors import BlockIOError
from virtmesh_common.errors import DeviceLost

if TYPE_CHECKING:
    from collections.abc import Callable

NO_PAGE_CACHE = {"tmpfs", "overlay"}


def life(memory: Callable[[float], float], descriptors: Callable[[float], float]) -> list[Sample]:
    """Return samples of a life of ten minutes, each tenth one at rest."""
    return [
        Sample(
            at, "vda", Life(1, 1), 0, int(memory(at)), int(descriptors(at)), 9, quiet=not at % 20
        )
        for at in range(0, 600, 2)
    ]


def leaking(samples: list[Sample]) -> set[str]:
    """Return the quantities that leak."""
    return {one.what for one in judge(samples) if one.leaks}


def test_a_slow_leak_of_memory_is_found_under_noise() -> None:
    """1.5 MiB in a minute, which no recorder holds, with bursts of 8 MiB."""
    chance = random.Random(1)  # noqa: S311

    def noisy(at: float) -> float:
        return 30_000 + 26 * at + chance.choice((0, 0, 0, 8 << 10)) + chance.gauss(0, 200)

    assert leaking(life(noisy, lambda _: 40)) == {"memory"}


def test_what_fills_up_and_bursts_is_no_leak() -> None:
    """A cache that is full after four minutes, and bursts that come more often in the end."""
    chance = random.Random(2)  # noqa: S311

    def full(at: float) -> float:
        return 30_000 + min(at, 240) * 100 + (8 << 10) * (chance.random() < at / 2000)

    samples = life(full, lambda at: 40 + (at % 20 != 0) * 30)
    assert len(judge(samples)) == 3
    assert leaking(samples) == set()


def test_a_descriptor_a_minute_is_a_leak() -> None:
    """Judged at rest; the level at the end says so as well."""
    samples = life(lambda _: 30_000, lambda at: 40 + at // 50)
    assert leaking(samples) == {"descriptors"}
    found = level(samples)
    assert found is not None
    assert found.trouble == ["vda ends with 51 descriptors; 40 after warm-up"]


def test_a_short_life_is_not_judged() -> None:
    """A minute and a half is the least."""
    assert judge(life(lambda at: 1000 * at, lambda _: 1)[:40]) == []
    assert judge([]) == []


def test_a_lost_write_a_torn_one_and_a_wrong_place_are_found() -> None:
    """Each is named; a version that may be there is right, and settles it."""
    sectors = Sectors(seed=5, first=8, count=4)
    old, old_bytes = sectors.make(0, 4)
    sectors.wrote(0, 4, old)
    new, new_bytes = sectors.make(0, 4)
    assert sectors.check(0, old_bytes) == []

    sectors.wrote(0, 1, new)
    sectors.may_have_written(1, 3, new)
    mixed = old_bytes[:SECTOR] + new_bytes[SECTOR : 2 * SECTOR] + old_bytes[2 * SECTOR :]
    assert sectors.check(0, mixed) == [
        "sector 8 is version 1 of sector 8, seed 5, not version (2,)"
    ]
    back = sectors.check(1, old_bytes[SECTOR : 2 * SECTOR])
    assert back == ["sector 9 is version 1 of sector 9, seed 5, not version (2,)"]

    torn = old_bytes[2 * SECTOR : 2 * SECTOR + 100] + new_bytes[2 * SECTOR + 100 : 3 * SECTOR]
    assert "torn" in sectors.check(2, torn)[0]
    assert "sector 8" in sectors.check(3, old_bytes[:SECTOR])[0]
    assert "zeroes" in sectors.check(3, bytes(SECTOR))[0]
    sectors.wrote(3, 1, ANYTHING)
    assert sectors.check(3, b"?" * SECTOR) == []
    assert content(5, 8, 1) != content(6, 8, 1)


def test_the_table_expects_what_it_lists_and_nothing_else() -> None:
    """A role, a reason, its cause, and what was done, all have to fit."""
    ordered = [("io-error", False)]
    assert is_expected("writer", "IO_ERROR", "INJECTED", ordered)
    assert not is_expected("writer", "IO_ERROR", "EIO", ordered)
    assert not is_expected("writer", "IO_ERROR", "INJECTED", [("delay", False)])
    assert not is_expected("writer", "DEVICE_LOST", "", [("kill", False)])
    assert is_expected("injector", "SERVICE_UNAVAILABLE", "", [("kill", True)])
    assert not is_expected("writer", "SERVICE_UNAVAILABLE", "", [("kill", True)])
    assert not is_expected("viewer", "IO_ERROR", "INJECTED", ordered)


def test_an_error_that_nothing_explains_is_a_violation() -> None:
    """One of another device explains nothing."""
    journal = Journal()
    disturbance = journal.disturb(3, "io-error", "vdb", "io-error")
    error = BlockIOError("no", cause="INJECTED")
    assert journal.met(("a", "writer", "vdb"), "read", journal.now(), error)
    assert journal.violations == []
    assert not journal.met(("b", "writer", "vda"), "read", journal.now(), error)
    assert not journal.met(("c", "writer", "vdb"), "read", journal.now(), DeviceLost("gone"))
    assert [(one.who, one.event) for one in journal.violations] == [("b", 3), ("c", 3)]
    assert "failed with DEVICE_LOST" in journal.violations[1].what
    assert journal.unexpected() == 2
    assert not disturbance.covers(1e6, 2e6) or disturbance.end is None


def test_a_plan_is_its_seed_and_spares_half_of_the_devices_for_an_epoch() -> None:
    """Another seed is another plan; the last round has no events."""
    plan = make_plan(4, 30)
    assert plan == make_plan(4, 30)
    assert plan != make_plan(5, 30)
    assert [one.number for one in plan] == list(range(1, len(plan) + 1))
    assert max(one.round for one in plan) == 28
    ending = {"kill", "fault-kill", "stop", "fault-stop", "restart"}
    assert {one.action for one in plan} == {*ending, "fault", "reset"}
    for epoch in range(29 // EPOCH_ROUNDS):
        ended = {
            one.device
            for one in plan
            if one.round // EPOCH_ROUNDS == epoch and one.action in ending
        }
        assert len(set(DEVICES) - ended) >= len(DEVICES) // 2


def test_who_does_not_come_to_rest_is_named() -> None:
    """With how long it is at work."""
    gate = Gate()
    gate.open()
    assert gate.enter("slow")
    assert gate.enter("quick")
    gate.leave("quick")
    assert list(gate.rest(0.01)) == ["slow"]
    gate.leave("slow")
    assert gate.rest(0.01) == {}
    gate.end()
    assert not gate.enter("slow")


def test_a_process_a_socket_and_a_lock_that_are_left_are_found(tmp_path: Path) -> None:
    """All four kinds, and nothing when they are gone."""
    (tmp_path / "run").mkdir()
    image = tmp_path / "disk.img"
    image.touch()
    assert leftovers(tmp_path, [], [image]) == []

    (tmp_path / "run" / "kernel.sock").touch()
    sleeper = [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()"]
    with (
        image.open("r+b") as held,
        subprocess.Popen(
            sleeper, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process,
    ):
        assert process.stdout is not None
        process.stdout.readline()
        fcntl.flock(held, fcntl.LOCK_EX)
        left = leftovers(tmp_path, [], [image])
        process.communicate()
    assert left == [
        f"process {process.pid} still uses {tmp_path}",
        "kernel.sock is still there",
        "disk.img is still locked",
    ]


def test_a_known_process_that_still_runs_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its identifier and its start; an identifier that was used again is another process."""
    monkeypatch.setattr("tests.soak.leftovers.ENDS_SECONDS", 0.0)
    ticks = start_ticks(os.getpid())
    assert ticks is not None
    (line,) = leftovers(tmp_path, [Life(os.getpid(), ticks)], [])
    assert line.startswith(f"process {os.getpid()} still runs: ")
    assert leftovers(tmp_path, [Life(os.getpid(), ticks + 1)], []) == []


def file_system(path: Path) -> str:
    """Return the type of the file system of a path, such as ext4 (proc_pid_mountinfo(5))."""
    device = path.stat().st_dev
    wanted = f" {os.major(device)}:{os.minor(device)} "
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    line = next(one for one in mounts if wanted in one)
    return line.partition(" - ")[2].split()[0]


def test_dirty_pages_are_counted_until_a_flush(tmp_path: Path) -> None:
    """Where the file system has a storage to write to."""
    kind = file_system(tmp_path)
    if kind in NO_PAGE_CACHE:
        pytest.skip(f"{kind} has no dirty pages of its own")
    path = tmp_path / "image"
    with path.open("wb", buffering=0) as file:
        file.write(bytes(4096 * 4))
        assert dirty_pages(path, 0, 4096 * 2) == 2
        os.fdatasync(file.fileno())
    assert dirty_pages(path, 0, 4096 * 4) == 0
