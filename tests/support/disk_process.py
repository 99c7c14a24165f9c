"""For benchmarks: a disk service in its own process, driven from this one, and timed requests."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from tests.support.cpu_time import cpu_us
from virtmesh.attach.grpc_bus import GrpcBus
from virtmesh.attach.guest_ram import Ram
from virtmesh.blk.driver import VirtIOBlk
from virtmesh_common.api.device.v1 import device_pb2, device_pb2_grpc
from virtmesh_common.channel import open_channel

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from contextlib import AsyncExitStack
    from pathlib import Path

    import grpc.aio
    from virtmesh_native import Recorder

    from virtmesh.machine import DoorbellKind

    Call = Callable[[], Awaitable[object]]
    Costs = dict[str, list[dict[str, float]]]

CALLS = 200
"""Requests of one measurement."""
DEPTH = 32
"""Requests in flight at one time."""
IMAGE_BYTES = 16 << 20
RAM_BYTES = 16 << 20
START_S = 20


class DiskProcess:
    """A device process with its own image. `options` are added to its command line.

    `python` is the interpreter of the environment whose services it runs.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        undo: AsyncExitStack,
        *options: str,
        python: str = sys.executable,
    ) -> None:
        self.address = f"unix:{folder / name}.sock"
        self.image = folder / f"{name}.img"
        self.image.write_bytes(os.urandom(IMAGE_BYTES))
        self._undo = undo
        device = [python, "-m", "virtmesh.host.main", "blk", "--name=vda"]
        self._process = subprocess.Popen(
            [*device, f"--listen={self.address}", f"--image={self.image}", *options],
            stderr=subprocess.DEVNULL,
        )
        undo.callback(self._process.wait)
        undo.callback(self._process.terminate)

    def cpu_us(self) -> float:
        """Return the CPU time that this process and the device's have used, in microseconds."""
        return time.process_time_ns() / 1e3 + cpu_us(self._process.pid)

    async def channel(self) -> grpc.aio.Channel:
        """Connect as soon as the service answers."""
        channel = await self._undo.enter_async_context(open_channel(self.address))
        await asyncio.wait_for(channel.channel_ready(), START_S)
        return channel

    async def metrics_address(self) -> str:
        """Return where /metrics is, as HOST:PORT."""
        stub = device_pb2_grpc.DeviceServiceStub(await self.channel())
        about: device_pb2.DescribeResponse = await stub.Describe(device_pb2.DescribeRequest())
        return about.metrics_address

    async def drive(self, doorbell: DoorbellKind, recorder: Recorder | None = None) -> VirtIOBlk:
        """Attach, and start the driver. The bus records to `recorder`."""
        await self.channel()
        ram = self._undo.enter_context(Ram(RAM_BYTES))
        bus = await GrpcBus.connect(self.address, ram=ram, driver_name="bench", doorbell=doorbell)
        bus.recorder = recorder
        self._undo.push_async_callback(bus.close)
        driver = VirtIOBlk(bus)
        bus.on_interrupt(driver.handle_irq)
        await driver.start()
        self._undo.push_async_callback(driver.close)
        return driver


async def one_by_one(call: Call) -> float:
    """Return the mean microseconds of a call when calls run one after the other."""
    begin = time.perf_counter()
    for _ in range(CALLS):
        await call()
    return (time.perf_counter() - begin) / CALLS * 1e6


async def many_at_once(call: Call) -> float:
    """Return the mean microseconds of a call when DEPTH tasks make calls at the same time."""
    pending = iter(range(CALLS))

    async def worker() -> None:
        for _ in pending:
            await call()

    begin = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(DEPTH)))
    return (time.perf_counter() - begin) / CALLS * 1e6


async def measure_in_turn(
    disks: Mapping[str, tuple[DiskProcess, Mapping[str, Call]]], rounds: int
) -> Costs:
    """Measure every way of every disk, round after round; the order of the disks turns.

    Returns the microseconds of CPU of a request, by way, round and disk. A way makes CALLS of them.
    """
    order = list(disks)
    costs: Costs = {way: [] for way in disks[order[0]][1]}
    for _ in range(rounds):
        order.append(order.pop(0))
        for way, rows in costs.items():
            rows.append({name: await cpu_us_of(*disks[name], way) for name in order})
    return costs


async def cpu_us_of(disk: DiskProcess, ways: Mapping[str, Call], way: str) -> float:
    """Return the microseconds of CPU of a request."""
    before = disk.cpu_us()
    await ways[way]()
    return (disk.cpu_us() - before) / CALLS
