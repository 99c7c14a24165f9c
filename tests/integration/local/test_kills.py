"""A disk that is killed at random under verified load, through the public client.

Environment: VIRTMESH_KILLS, the number of kills (10), and VIRTMESH_SEED, where they fall.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest

import virtmesh_client
from tests.support.cli import SECONDS, eventually
from virtmesh.local.restarts import QUICK_SECONDS
from virtmesh_client.local import rundir
from virtmesh_common.errors import VirtmeshError
from virtmesh_common.printable import say

if TYPE_CHECKING:
    from tests.support.cli import Cli
    from virtmesh_client import Machine

KILLS = int(os.environ.get("VIRTMESH_KILLS", "10"))
pytestmark = [pytest.mark.processes, pytest.mark.timeout(60 + 12 * KILLS)]
SEED = int(os.environ.get("VIRTMESH_SEED", "0")) or random.SystemRandom().randrange(1 << 32)
BLOCK = 4096
AREA = 2 << 20
"""Bytes that each writer has for itself."""
SIZES = (512, BLOCK, 64 << 10, 256 << 10)


class Writer(threading.Thread):
    """Changes an area of its own at random, and knows each byte that must be there."""

    def __init__(self, machine: Machine, number: int, stop: threading.Event) -> None:
        super().__init__(name=f"writer {number}")
        self.operations = 0
        self.longest = 0.0
        """Seconds of the slowest operation."""
        self.errors: list[BaseException] = []
        self._disk = machine.disk("vda")
        self._start = number * AREA
        self._truth = bytearray(AREA)
        self._random = random.Random(SEED + number)  # noqa: S311 - reproducible
        self._halt = stop

    def run(self) -> None:
        """Work until told to stop, then look at everything once more."""
        try:
            while not self._halt.is_set():
                begun = time.monotonic()
                self._step()
                self.longest = max(self.longest, time.monotonic() - begun)
                self.operations += 1
            self._check(0, AREA)
        except BaseException as error:  # noqa: BLE001 - the test raises it
            self.errors.append(error)

    def _step(self) -> None:
        """Do one operation."""
        size = self._random.choice(SIZES)
        at = self._random.randrange(0, AREA - size, 512)
        kind = self._random.choice(("write", "write", "read", "read", "zero", "discard", "flush"))
        if kind == "write":
            data = self._random.randbytes(size)
            self._disk.write(self._start + at, data)
            self._truth[at : at + size] = data
        elif kind == "read":
            self._check(at, size)
        elif kind == "flush":
            self._disk.flush()
        elif kind == "zero":
            self._disk.write_zeroes(self._start + at, size)
            self._truth[at : at + size] = bytes(size)
        else:
            self._disk.discard(self._start + at, size)  # What is there then, nobody promises.
            data = self._random.randbytes(size)
            self._disk.write(self._start + at, data)
            self._truth[at : at + size] = data

    def _check(self, at: int, size: int) -> None:
        """Compare a range with what must be there."""
        found = self._disk.read(self._start + at, size)
        if found != self._truth[at : at + size]:
            wrong = next(i for i in range(size) if found[i] != self._truth[at + i])
            raise AssertionError(f"byte {self._start + at + wrong} of {self.name} is wrong")


def pid_of(cli: Cli, name: str) -> int:
    """Return the process of a service, once it runs."""
    found: list[int] = []

    def look() -> bool:
        state = rundir.load(cli.run_dir)
        found[:] = [one.pid for one in state.alive if one.name == name] if state else []
        return bool(found)

    eventually(look)
    return found[0]


def outage(machine: Machine, pid: int) -> float:
    """Kill the disk; return the seconds until a read without patience succeeds again."""
    disk = machine.disk("vda")
    os.kill(pid, signal.SIGKILL)
    begun = time.monotonic()
    last = 0.0  # until a read fails, the death is not seen
    while time.monotonic() - begun < SECONDS:
        try:
            disk.read(0, 512, retry_for=0)
        except VirtmeshError:
            last = time.monotonic()
        else:
            if last or time.monotonic() - begun > 0.5:
                return time.monotonic() - begun if last else 0.0
        time.sleep(0.005)
    pytest.fail(f"the disk is not back after {SECONDS:g} s")


def spell(times: list[float]) -> str:
    """Return how times are spread."""
    times = sorted(times) or [0.0]
    middle, late = times[len(times) // 2], times[len(times) * 95 // 100]
    return f"min {times[0]:.3f}, median {middle:.3f}, 95 % {late:.3f}, max {times[-1]:.3f}"


def test_a_disk_killed_under_load_costs_its_clients_nothing_but_time(cli: Cli) -> None:
    """No error, nothing lost, nothing torn, nobody hangs; the outages are printed."""
    cli.up("--disk", "disk.img,size=16M")
    chance = random.Random(SEED)  # noqa: S311 - reproducible
    stop = threading.Event()
    outages: list[float] = []
    with virtmesh_client.connect(f"unix:{cli.run_dir}/kernel.sock") as machine:
        writers = [Writer(machine, number, stop) for number in range(4)]
        for writer in writers:
            writer.start()
        try:
            for number in range(KILLS):
                # Each second death comes soon after the one before; more of them would be held.
                soon = 0.0 if number % 2 else QUICK_SECONDS
                stop.wait(soon + chance.uniform(0.05, 0.6))
                outages.append(outage(machine, pid_of(cli, "vda")))
        finally:
            stop.set()
            for writer in writers:
                writer.join(SECONDS)
    hung = [writer.name for writer in writers if writer.is_alive()]
    errors = [error for writer in writers for error in writer.errors]
    say(
        f"seed {SEED}: {KILLS} kills, {sum(writer.operations for writer in writers)} operations,"
        f" slowest {max(writer.longest for writer in writers):.3f} s, {len(errors)} errors,"
        f" {len(hung)} hung; outages in s of a disk that had served {spell(outages[::2])},"
        f" of one that had just come back {spell(outages[1::2])}"
    )
    assert hung == []
    assert errors == []
