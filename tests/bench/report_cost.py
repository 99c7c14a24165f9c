"""What judging drivers costs a disk: device services of two trees, in one interleaved run.

Usage: python -m tests.bench.report_cost OTHER_PYTHON [ROUNDS]

OTHER_PYTHON is the interpreter of another tree, such as ../main/.venv/bin/python: its services are
"without". The drivers in this process are the same for both. What is
measured is CPU time of driver and device, as in recorder_cost.py. Nothing is asserted.
"""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import uvloop
from rich.console import Console
from virtmesh_native import Recorder

from tests.bench.recorder_cost import ways
from tests.support.bench_table import AGAIN, WITH, WITHOUT, cost_table
from tests.support.disk_process import DiskProcess, measure_in_turn, one_by_one
from virtmesh.attach.bus import reading, writing
from virtmesh.machine import DoorbellKind
from virtmesh.telemetry.recorder import EVENTS_DEFAULT
from virtmesh_common.virtio.mmio import INTERRUPT_ACK, INTERRUPT_STATUS

ROUNDS = 40
HANDLED = (reading(INTERRUPT_STATUS), writing(INTERRUPT_ACK, 1))
"""What a driver does in each interrupt."""


async def measure(other: str, rounds: int) -> dict[str, list[dict[str, float]]]:
    """Measure every way on every disk in turn, round after round."""
    async with AsyncExitStack() as undo:
        folder = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="virtmesh-bench-")))
        disks = {}
        for name, python in ((WITHOUT, other), (AGAIN, other), (WITH, sys.executable)):
            disk = DiskProcess(folder, name, undo, python=python)
            driver = await disk.drive(DoorbellKind.EVENTFD, Recorder(EVENTS_DEFAULT))
            batch = partial(driver.bus.access, HANDLED * 32)
            disks[name] = (
                disk,
                ways(driver)
                | {"64 accesses of interrupts in one batch": partial(one_by_one, batch)},
            )
        return await measure_in_turn(disks, rounds)


def main() -> None:
    """Measure, and print the table."""
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else ROUNDS
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # waking another core costs more
    Console().print(cost_table(uvloop.run(measure(sys.argv[1], rounds)), "CPU us"))


if __name__ == "__main__":
    main()
