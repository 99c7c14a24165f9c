"""What the parts of the disk's path cost, as ratios in one interleaved run.

Usage: python tests/bench/blk_path.py [ROUNDS]

A real device process; the driver is in this one, so that nothing but the path itself is timed.
Every cell is the median over the rounds. Nothing is asserted: absolute times depend on the machine.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop
from rich.console import Console
from rich.table import Table

from virtmesh.api.register.v1 import register_pb2
from virtmesh.api.register.v1.register_pb2_grpc import RegisterServiceStub
from virtmesh.bus import reading
from virtmesh.drivers.blk import VirtIOBlk
from virtmesh.grpc_bus import GrpcBus
from virtmesh.machine import DoorbellKind, InterruptMode
from virtmesh.ram import Ram
from virtmesh.virtio.mmio_registers import STATUS
from virtmesh.wire import open_channel

if TYPE_CHECKING:
    import grpc.aio

ROUNDS = 20
CALLS = 200
"""Requests timed in one round of one way."""
SIZE = 4096
IMAGE_BYTES = 16 << 20
RAM_BYTES = 16 << 20
START_S = 20
BASE = "1 register by a unary Read"


Call = Callable[[], Awaitable[object]]
Way = Callable[[], Awaitable[float]]


class Disk:
    """A device process with an image of its own."""

    def __init__(self, folder: Path, name: str, undo: AsyncExitStack) -> None:
        self.address = f"unix:{folder / name}.sock"
        self.image = folder / f"{name}.img"
        self.image.write_bytes(os.urandom(IMAGE_BYTES))
        self._undo = undo
        device = [sys.executable, "-m", "virtmesh.host.main", "blk", "--name=vda"]
        process = subprocess.Popen(
            [*device, f"--listen={self.address}", f"--image={self.image}"],
            stderr=subprocess.DEVNULL,
        )
        undo.callback(process.wait)
        undo.callback(process.terminate)

    async def channel(self) -> grpc.aio.Channel:
        """Connect as soon as the service answers."""
        channel = await self._undo.enter_async_context(open_channel(self.address))
        await asyncio.wait_for(channel.channel_ready(), START_S)
        return channel

    async def drive(self, doorbell: DoorbellKind) -> VirtIOBlk:
        """Attach, and bring the driver up."""
        await self.channel()
        ram = self._undo.enter_context(Ram(RAM_BYTES))
        bus = await GrpcBus.connect(self.address, ram=ram, driver_name="bench", doorbell=doorbell)
        self._undo.push_async_callback(bus.close)
        driver = VirtIOBlk(bus, InterruptMode.INTERRUPT)
        bus.on_interrupt(driver.handle_irq)
        await driver.start()
        self._undo.push_async_callback(driver.close)
        return driver


async def one_by_one(call: Call) -> float:
    """Return microseconds for each call, one after the other."""
    begin = time.perf_counter()
    for _ in range(CALLS):
        await call()
    return (time.perf_counter() - begin) / CALLS * 1e6


async def many_at_once(call: Call) -> float:
    """Return microseconds for each call, with 32 tasks at work."""
    pending = iter(range(CALLS))

    async def worker() -> None:
        for _ in pending:
            await call()

    begin = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(32)))
    return (time.perf_counter() - begin) / CALLS * 1e6


async def register_ways(folder: Path, undo: AsyncExitStack) -> dict[str, Way]:
    """Read registers: by unary calls of a device without a driver, and in batches."""
    stub = RegisterServiceStub(await Disk(folder, "registers", undo).channel())
    request = register_pb2.ReadRequest(offset=STATUS.offset, width_bytes=4)
    bus = (await Disk(folder, "batches", undo).drive(DoorbellKind.EVENTFD)).bus
    return {
        BASE: partial(one_by_one, lambda: stub.Read(request)),
        "1 register on the stream": partial(one_by_one, lambda: bus.access([reading(STATUS)])),
        "64 registers in one batch": partial(
            one_by_one, lambda: bus.access([reading(STATUS)] * 64)
        ),
    }


async def disk_ways(folder: Path, doorbell: DoorbellKind, undo: AsyncExitStack) -> dict[str, Way]:
    """Read and write blocks, the queue rung one way."""
    driver = await Disk(folder, doorbell, undo).drive(doorbell)
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
