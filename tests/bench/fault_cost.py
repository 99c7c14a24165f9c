"""What faults on demand cost a disk: none, against faults that are asked and never take a request.

Usage: python -m tests.bench.fault_cost [ROUNDS]

"With" has a fault of requests, of interrupts, of notifications and of lengths, each of which is
asked for every event. What is measured is CPU time of driver and device, as in recorder_cost.py.
For a build from before there were faults, see report_cost.py. Nothing is asserted.
"""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

import uvloop
from rich.console import Console
from virtmesh_native import Recorder

from tests.bench.recorder_cost import ways
from tests.support.bench_table import AGAIN, WITH, WITHOUT, cost_table
from tests.support.disk_process import DiskProcess, measure_in_turn
from virtmesh.machine import DoorbellKind
from virtmesh.telemetry.recorder import EVENTS_DEFAULT

ROUNDS = 20
KINDS = ("io-error", "lost-interrupt", "lost-notification", "wrong-length")
NEVER = "after=1000000000000"


async def measure(rounds: int) -> dict[str, list[dict[str, float]]]:
    """Measure every way on every disk in turn, round after round."""
    async with AsyncExitStack() as undo:
        folder = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="virtmesh-bench-")))
        ordered = tuple(f"--faults={kind} {NEVER}" for kind in KINDS)
        disks = {}
        for name, options in ((WITHOUT, ()), (AGAIN, ()), (WITH, ordered)):
            disk = DiskProcess(folder, name, undo, *options)
            driver = await disk.drive(DoorbellKind.EVENTFD, Recorder(EVENTS_DEFAULT))
            disks[name] = disk, ways(driver)
        return await measure_in_turn(disks, rounds)


def main() -> None:
    """Measure, and print the table."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # waking another core costs more
    Console().print(cost_table(uvloop.run(measure(rounds)), "CPU us"))


if __name__ == "__main__":
    main()
