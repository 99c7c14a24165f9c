"""What the parts of the disk's path cost, as ratios in one interleaved run.

Usage: python tests/bench/blk_path.py [ROUNDS]

A real device process; the driver is in this one, so that nothing but the path itself is timed.
Every cell is the median over the rounds. Nothing is asserted: absolute times depend on the machine.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import uvloop
from rich.console import Console
from rich.table import Table

from tests.support.disk_process import DiskProcess, many_at_once, one_by_one
from virtmesh.attach.bus import reading
from virtmesh.machine import DoorbellKind
from virtmesh_common.api.register.v1 import register_pb2
from virtmesh_common.api.register.v1.register_pb2_grpc import RegisterServiceStub
from virtmesh_common.virtio.mmio import STATUS

ROUNDS = 20
SIZE = 4096
BASE = "1 register by a unary Read"


Way = Callable[[], Awaitable[float]]


async def register_ways(folder: Path, undo: AsyncExitStack) -> dict[str, Way]:
    """Read registers: by unary calls of a device without a driver, and in batches."""
    stub = RegisterServiceStub(await DiskProcess(folder, "registers", undo).channel())
    request = register_pb2.ReadRequest(offset=STATUS.offset, width_bytes=4)
    bus = (await DiskProcess(folder, "batches", undo).drive(DoorbellKind.EVENTFD)).bus
    return {
        BASE: partial(one_by_one, lambda: stub.Read(request)),
        "1 register on the channel": partial(one_by_one, lambda: bus.access([reading(STATUS)])),
        "64 registers in one batch": partial(
            one_by_one, lambda: bus.access([reading(STATUS)] * 64)
        ),
    }


async def disk_ways(folder: Path, doorbell: DoorbellKind, undo: AsyncExitStack) -> dict[str, Way]:
    """Read and write blocks, the queue rung one way."""
    driver = await DiskProcess(folder, doorbell, undo).drive(doorbell)
    buffer = bytearray(SIZE)
    read = partial(driver.read_block, 8, buffer)
    write = partial(driver.write_block, 8, buffer)
    return {
        f"read 4 KiB, {doorbell}, depth 1": partial(one_by_one, read),
        f"read 4 KiB, {doorbell}, depth 32": partial(many_at_once, read),
        f"write 4 KiB, {doorbell}, depth 32": partial(many_at_once, write),
    }


async def measure(rounds: int) -> dict[str, list[float]]:
    """Time every way in turn, round after round."""
    async with AsyncExitStack() as undo:
        folder = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="virtmesh-bench-")))
        ways = await register_ways(folder, undo)
        for doorbell in DoorbellKind:
            ways |= await disk_ways(folder, doorbell, undo)
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, way in ways.items():
                times[name].append(await way())
        return times


def main() -> None:
    """Measure, and print the table."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # waking another core costs more
    times = uvloop.run(measure(rounds))
    base = statistics.median(times[BASE])
    table = Table(title=f"medians of {rounds} interleaved rounds on one CPU")
    table.add_column("what")
    table.add_column("us", justify="right")
    table.add_column("of a unary Read", justify="right")
    for name, values in times.items():
        middle = statistics.median(values)
        table.add_row(name, f"{middle:.1f}", f"{middle / base:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
