"""What the sandbox costs a service: its start, calls, requests and register accesses.

Usage: python -m tests.bench.sandbox_cost [ROUNDS]

Disks that are in their sandbox or not are measured in turn, round after round. A start is the time
of the clock until the service answers, everything else the CPU time of device and driver together.
The ratio is the median of the rounds' ratios; "twice without" is what the method makes of two
services that are the same. It asserts nothing: absolute times depend on the machine.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import uvloop
from rich.console import Console

from tests.support.bench_table import AGAIN, WITH, WITHOUT, cost_table
from tests.support.disk_process import DiskProcess, many_at_once, measure_in_turn, one_by_one
from virtmesh.attach.bus import reading
from virtmesh.blk.driver import VirtIOBlk
from virtmesh.machine import DoorbellKind
from virtmesh_common.api.device.v1 import device_pb2, device_pb2_grpc
from virtmesh_common.virtio.mmio import STATUS

ROUNDS = 30
SIZE = 4096
OPTIONS = {WITHOUT: "--sandbox=off", AGAIN: "--sandbox=off", WITH: "--sandbox=on"}

Way = Callable[[], Awaitable[object]]
Costs = dict[str, list[dict[str, float]]]


def ways(driver: VirtIOBlk, stub: Any) -> dict[str, Way]:
    """Return what is measured: CALLS requests, calls or accesses each."""
    buffer = bytearray(SIZE)
    read = partial(driver.read_block, 8, buffer)
    write = partial(driver.write_block, 8, buffer)
    access = driver.bus.access
    return {
        "read 4 KiB, depth 32": partial(many_at_once, read),
        "write 4 KiB, depth 32": partial(many_at_once, write),
        "read 4 KiB, depth 1": partial(one_by_one, read),
        "1 register on the channel": partial(one_by_one, lambda: access([reading(STATUS)])),
        "Describe by gRPC": partial(
            one_by_one, lambda: stub.Describe(device_pb2.DescribeRequest())
        ),
    }


async def measure(rounds: int, folder: Path) -> Costs:
    """Measure every way on every disk in turn, round after round."""
    async with AsyncExitStack() as undo:
        disks = {}
        for name, option in OPTIONS.items():
            disk = DiskProcess(folder, name, undo, option)
            stub = device_pb2_grpc.DeviceServiceStub(await disk.channel())
            disks[name] = disk, ways(await disk.drive(DoorbellKind.EVENTFD), stub)
        return await measure_in_turn(disks, rounds)


async def measure_starts(rounds: int, folder: Path) -> Costs:
    """Start a disk each way in turn; return the microseconds until it answers."""
    rows = []
    order = list(OPTIONS)
    for _ in range(rounds):
        order.append(order.pop(0))
        rows.append({name: await start_of(folder, OPTIONS[name]) for name in order})
    return {"start": rows}


async def start_of(folder: Path, option: str) -> float:
    """Return the microseconds that a start takes."""
    async with AsyncExitStack() as undo:
        begin = time.perf_counter()
        disk = DiskProcess(folder, "start", undo, option)
        await disk.channel()
        return (time.perf_counter() - begin) * 1e6


def main() -> None:
    """Measure, and print the tables."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # waking another core costs more
    with tempfile.TemporaryDirectory(prefix="virtmesh-bench-") as name:
        Console().print(cost_table(uvloop.run(measure(rounds, Path(name))), "CPU us"))
        Console().print(cost_table(uvloop.run(measure_starts(rounds, Path(name))), "us"))


if __name__ == "__main__":
    main()
