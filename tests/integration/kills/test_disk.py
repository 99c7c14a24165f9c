"""A disk that is killed at random under verified load, through the public client.

Environment: that of tests/support/killing.py; 10 kills.
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
from tests.support.cli import SECONDS
from tests.support.killing import SEED, Writer, kills, pid_of, spell
from virtmesh.local.restarts import QUICK_SECONDS
from virtmesh_common.errors import VirtmeshError
from virtmesh_common.printable import say

if TYPE_CHECKING:
    from tests.support.cli import Cli
    from virtmesh_client import Machine

KILLS = kills(10)
pytestmark = [pytest.mark.processes, pytest.mark.timeout(60 + 12 * KILLS)]


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


@pytest.mark.parametrize("cache", ["writeback", "none"])
def test_a_disk_killed_under_load_costs_its_clients_nothing_but_time(cli: Cli, cache: str) -> None:
    """No error, nothing lost, nothing torn, nobody hangs; the outages are printed."""
    cli.up("--disk", f"disk.img,size=16M,cache={cache}")
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
