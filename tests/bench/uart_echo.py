"""How fast a serial port echoes, and how many messages that takes, beside a driver without batches.

Usage: python -m tests.bench.uart_echo [--rounds N] [--kib N] [--single-kib N] [--json]

Real processes: for each way a device service and a driver that echoes; the client is in this
process. All of them share one CPU, and the ways take turns in each round, so that whatever else the
host does meets both. It prints a table, or with `--json` the medians for tests/bench/compare.py,
and asserts nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import uvloop
from rich.console import Console
from rich.table import Table

from tests.support.uart_clients import Terminal
from virtmesh_common.api.device.v1 import device_pb2
from virtmesh_common.api.device.v1.device_pb2_grpc import DeviceServiceStub
from virtmesh_common.api.uart.v1.uart_pb2_grpc import UartServiceStub
from virtmesh_common.channel import open_channel
from virtmesh_common.errors import ServiceUnavailable

CHUNK = 32 << 10
KIB = 1 << 10
WAYS = {"in batches": (), "an access a message": ("--one-byte-per-call",)}
"""Options of the driver, by what its messages are."""


@dataclass
class Way:
    """A port with its driver, and what was measured of it."""

    name: str
    kib: int
    terminal: Terminal
    control: Any
    rates: list[float] = field(default_factory=list)
    """KiB per second each way, by round."""
    messages: list[float] = field(default_factory=list)
    """Register messages per KiB echoed, by round."""

    async def run(self) -> None:
        """Send a load, and take it back."""
        data = os.urandom(self.kib * KIB)
        before, start = await self.count(), time.perf_counter()
        sending = asyncio.create_task(self.send(data))
        if await self.terminal.output(len(data)) != data:
            raise ValueError(f"{self.name}: what came back is not what was sent")
        await sending
        took = time.perf_counter() - start
        self.rates.append(len(data) / took / KIB)
        self.messages.append((await self.count() - before) / self.kib)

    async def send(self, data: bytes) -> None:
        """Send input."""
        for start in range(0, len(data), CHUNK):
            await self.terminal.send(data[start : start + CHUNK])

    async def count(self) -> int:
        """Return how many register messages the device has had."""
        stats = await self.control.GetStats(device_pb2.GetStatsRequest())
        count: int = stats.mmio_messages
        return count


def start(stack: ExitStack, ready: str, *arguments: str) -> None:
    """Start a process, and wait until it says that it is ready. Errors: ServiceUnavailable."""
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    stack.enter_context(process)
    stack.callback(process.kill)
    if process.stdout is None or not any(ready in line for line in process.stdout):
        raise ServiceUnavailable(f"{arguments[0]} has ended")


async def connect(
    folder: Path, name: str, kib: int, processes: ExitStack, channels: AsyncExitStack
) -> Way:
    """Start a device and its driver, and plug a terminal in."""
    address = f"unix:{folder / str(len(name))}.sock"
    start(processes, "serving", "virtmesh.host.main", "uart", "--name", "s", "--listen", address)
    start(processes, "ready", "tests.support.uart_echo", address, *WAYS[name])
    channel = await channels.enter_async_context(open_channel(address))
    terminal = await Terminal.open(UartServiceStub(channel), watch=True)
    return Way(name, kib, terminal, DeviceServiceStub(channel))


async def measure(rounds: int, kib: int, single_kib: int) -> list[Way]:
    """Measure."""
    async with AsyncExitStack() as channels:
        folder = Path(channels.enter_context(tempfile.TemporaryDirectory(prefix="vm-")))
        processes = channels.enter_context(ExitStack())
        ways = [
            await connect(folder, name, load, processes, channels)
            for name, load in zip(WAYS, (kib, single_kib), strict=True)
        ]
        for turn in range(rounds + 1):
            for way in ways:
                await way.run()
                if not turn:  # the first round warms up
                    way.rates.clear()
                    way.messages.clear()
        return ways


def report(ways: list[Way]) -> None:
    """Print medians, and ratios to the last way."""
    table = Table(
        "messages", "KiB/s each way", "ratio", "messages per KiB", "ratio", title="echo, one CPU"
    )
    rate, messages = median(ways[-1].rates), median(ways[-1].messages)
    for way in ways:
        table.add_row(
            way.name,
            f"{median(way.rates):.1f}",
            f"{median(way.rates) / rate:.1f}",
            f"{median(way.messages):.2f}",
            f"{median(way.messages) / messages:.5f}",
        )
    Console().print(table)


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--kib", type=int, default=512, help="KiB of a round, in batches")
    parser.add_argument("--single-kib", type=int, default=4, help="KiB of a round, one by one")
    parser.add_argument("--json", action="store_true", help="print the medians as JSON")
    options = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    ways = uvloop.run(measure(options.rounds, options.kib, options.single_kib))
    if options.json:
        print(json.dumps({f"{way.name}, KiB/s": median(way.rates) for way in ways}))  # noqa: T201
    else:
        report(ways)


if __name__ == "__main__":
    main()
