"""Services that are killed at random under verified load: who loads them, and what it cost.

Environment: VIRTMESH_KILLS, the number of kills, and VIRTMESH_SEED, where they fall.
"""

from __future__ import annotations

import os
import random
import threading
import time
from typing import TYPE_CHECKING

from tests.support.cli import eventually
from virtmesh_client.local import rundir

if TYPE_CHECKING:
    from tests.support.cli import Cli
    from virtmesh_client import Machine

SEED = int(os.environ.get("VIRTMESH_SEED", "0")) or random.SystemRandom().randrange(1 << 32)
BLOCK = 4096
AREA = 2 << 20
"""Bytes that each writer has for itself."""
SIZES = (512, BLOCK, 64 << 10, 256 << 10)


def kills(default: int) -> int:
    """Return how many kills are wanted."""
    return int(os.environ.get("VIRTMESH_KILLS", default))


class Worker(threading.Thread):
    """Does one operation after the other until it is told to stop; what it raises is kept."""

    def __init__(self, name: str, stop: threading.Event) -> None:
        super().__init__(name=name)
        self.operations = 0
        self.longest = 0.0
        """Seconds of the slowest operation."""
        self.errors: list[BaseException] = []
        self._halt = stop

    def run(self) -> None:
        """Work until told to stop, then look at everything once more."""
        try:
            while not self._halt.is_set():
                begun = time.monotonic()
                self.step()
                self.longest = max(self.longest, time.monotonic() - begun)
                self.operations += 1
            self.finish()
        except BaseException as error:  # noqa: BLE001 - the test raises it
            self.errors.append(error)

    def step(self) -> None:
        """Do one operation."""
        raise NotImplementedError

    def finish(self) -> None:
        """Look at everything once more."""


class Writer(Worker):
    """Changes an area of a disk at random, and knows each byte that must be there."""

    def __init__(self, machine: Machine, number: int, stop: threading.Event) -> None:
        super().__init__(f"writer {number}", stop)
        self._disk = machine.disk("vda")
        self._start = number * AREA
        self._truth = bytearray(AREA)
        self._random = random.Random(SEED + number)  # noqa: S311 - reproducible

    def finish(self) -> None:
        """Compare the whole area."""
        self._check(0, AREA)

    def step(self) -> None:
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


def spell(times: list[float]) -> str:
    """Return how times are spread."""
    times = sorted(times) or [0.0]
    middle, late = times[len(times) // 2], times[len(times) * 95 // 100]
    return f"min {times[0]:.3f}, median {middle:.3f}, 95 % {late:.3f}, max {times[-1]:.3f}"
