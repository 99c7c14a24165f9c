"""What the flight recorder costs: the disk's path with it and without, in one interleaved run.

Usage: python tests/bench/recorder_cost.py [ROUNDS]

Two device processes, one with its recorder and one without, and their two drivers in this process,
likewise. What is measured is the CPU time of driver and device together: the latency on one
CPU that has nothing else to do, whatever else the machine does. The ratio is the
median of the rounds' ratios; the order within a round turns. The column "twice without" is what the
method itself makes of two disks that are the same. Nothing is asserted.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import uvloop
from rich.console import Console
from virtmesh_native import Recorder

from tests.support.bench_table import AGAIN, WITH, WITHOUT, cost_table
from tests.support.disk_process import DiskProcess, many_at_once, measure_in_turn, one_by_one
from virtmesh.attach.bus import reading
from virtmesh.blk.driver import VirtIOBlk
from virtmesh.machine import DoorbellKind
from virtmesh.telemetry.recorder import EVENTS_DEFAULT
from virtmesh_common.virtio.mmio import STATUS

ROUNDS = 60
SIZE = 4096

Way = Callable[[], Awaitable[object]]


def ways(driver: VirtIOBlk) -> dict[str, Way]:
    """Return what is measured: CALLS requests or batches each."""
    buffer = bytearray(SIZE)
    read = partial(driver.read_block, 8, buffer)
    write = partial(driver.write_block, 8, buffer)
    access = driver.bus.access
    return {
        "read 4 KiB, depth 32": partial(many_at_once, read),
        "write 4 KiB, depth 32": partial(many_at_once, write),
        "read 4 KiB, depth 1": partial(one_by_one, read),
        "1 register on the channel": partial(one_by_one, lambda: access([reading(STATUS)])),
        "64 registers in one batch": partial(one_by_one, lambda: access([reading(STATUS)] * 64)),
    }


async def measure(rounds: int) -> dict[str, list[dict[str, float]]]:
    """Measure every way on every disk in turn, round after round."""
    async with AsyncExitStack() as undo:
        folder = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="virtmesh-bench-")))
        disks = {}
        for name, events in ((WITHOUT, 0), (AGAIN, 0), (WITH, EVENTS_DEFAULT)):
            disk = DiskProcess(folder, name, undo, f"--recorder={events}")
            driver = await disk.drive(DoorbellKind.EVENTFD, Recorder(events))
            disks[name] = disk, ways(driver)
        return await measure_in_turn(disks, rounds)


def main() -> None:
    """Measure, and print the table."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # waking another core costs more
    costs = uvloop.run(measure(rounds))
    Console().print(cost_table(costs, "CPU us"))


if __name__ == "__main__":
    main()
