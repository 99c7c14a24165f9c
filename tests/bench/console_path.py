"""How fast characters pass a serial port, each way: driver to far end, and far end to driver.

Usage: python -m tests.bench.console_path [--mib N] [--rounds N] [--json]

Real processes: the device service, a driver that sends or swallows (tests.support.uart_echo), and a
client at the far end in this process. All of them share one CPU. With `--json` the last line is the
medians as JSON, for tests/bench/compare.py. It asserts nothing but that nothing was lost.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import uvloop

from tests.bench.suite.probes.uart import start
from tests.support.uart_clients import Terminal
from virtmesh_common.api.uart.v1.uart_pb2_grpc import UartServiceStub
from virtmesh_common.channel import open_channel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CHUNK = 32 << 10
MIB = 1 << 20


@asynccontextmanager
async def plugged_in(driver_options: list[str]) -> AsyncIterator[Terminal]:
    """Start a device and a driver, and plug a terminal in."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="vm-"))
        address = f"unix:{Path(folder) / 's'}"
        start(stack, "serving", "virtmesh.host.main", "uart", "--name", "s", "--listen", address)
        start(stack, "ready", "tests.support.uart_echo", address, *driver_options)
        async with open_channel(address) as channel:
            yield await Terminal.open(UartServiceStub(channel), watch=True)


async def to_far_end(size: int) -> float:
    """Have the driver send; return the seconds until the far end has all."""
    async with plugged_in(["--source", str(size)]) as terminal:
        await terminal.send(b"!")  # the driver begins when it hears something
        begun = time.perf_counter()
        await terminal.output(size)
        return time.perf_counter() - begun


async def to_driver(size: int) -> float:
    """Send so many bytes; return the time until the driver has read them, in seconds."""
    async with plugged_in(["--sink", "--count", str(size)]) as terminal:
        data = os.urandom(CHUNK)
        begun = time.perf_counter()
        sending = asyncio.create_task(send(terminal, data, size))
        await terminal.taken(size)
        took = time.perf_counter() - begun
        await sending
        return took


async def send(terminal: Terminal, data: bytes, size: int) -> None:
    """Send so many bytes, a chunk a message."""
    for _ in range(0, size, len(data)):
        await terminal.send(data)


async def run(mib: int, rounds: int) -> dict[str, float]:
    """Measure; return the medians, in MiB per second."""
    size = mib * MIB
    ways = {"driver to far end, MiB/s": to_far_end, "far end to driver, MiB/s": to_driver}
    return {
        name: median([mib / await way(size) for _ in range(rounds)]) for name, way in ways.items()
    }


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--mib", type=int, default=10, help="MiB each way")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print the medians as JSON")
    options = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    figures = uvloop.run(run(options.mib, options.rounds))
    if options.json:
        print(json.dumps(figures))  # noqa: T201 - this is what the program is for
        return
    for name, value in figures.items():
        print(f"{name}: {value:.2f}")  # noqa: T201 - so too


if __name__ == "__main__":
    main()
