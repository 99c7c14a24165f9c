"""Measures a serial port both ways at once: what a terminal sends comes back from a driver.

Usage: python -m tests.bench.suite.probes.uart FOLDER

Real processes: a device service, a driver that echoes, and the terminal, which is this one. A line
is a number of KiB; the answer has the bytes per second each way, and the register messages of a
KiB.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop

from tests.bench.suite.probes.lines import Figures, answer_lines
from tests.support.uart_clients import Terminal
from virtmesh_common.api.device.v1 import device_pb2
from virtmesh_common.api.device.v1.device_pb2_grpc import DeviceServiceStub
from virtmesh_common.api.uart.v1.uart_pb2_grpc import UartServiceStub
from virtmesh_common.channel import open_channel
from virtmesh_common.errors import ServiceUnavailable

CHUNK = 32 << 10
KIB = 1 << 10


@dataclass
class Port:
    """A port with its driver."""

    terminal: Terminal
    control: Any

    async def echo(self, kib: int) -> Figures:
        """Send a load, and take it back. Errors: ValueError if it is another."""
        data = os.urandom(kib * KIB)
        before, start = await self._messages(), time.perf_counter()
        sending = asyncio.create_task(self._send(data))
        if await self.terminal.output(len(data)) != data:
            raise ValueError("what came back is not what was sent")
        await sending
        took = time.perf_counter() - start
        return {
            "bytes_per_s": len(data) / took,
            "messages_per_kib": (await self._messages() - before) / kib,
        }

    async def _send(self, data: bytes) -> None:
        """Send input."""
        for start in range(0, len(data), CHUNK):
            await self.terminal.send(data[start : start + CHUNK])

    async def _messages(self) -> int:
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


async def probe(folder: Path) -> None:
    """Start a device and its driver, plug a terminal in, and measure for each line."""
    async with AsyncExitStack() as undo:
        address = f"unix:{folder / 'uart.sock'}"
        processes = undo.enter_context(ExitStack())
        device = ("virtmesh.host.main", "uart", "--name", "s", "--listen", address)
        start(processes, "serving", *device)
        start(processes, "ready", "tests.support.uart_echo", address)
        channel = await undo.enter_async_context(open_channel(address))
        terminal = await Terminal.open(UartServiceStub(channel), watch=True)
        port = Port(terminal, DeviceServiceStub(channel))
        await answer_lines(lambda line: port.echo(int(line)))


if __name__ == "__main__":
    uvloop.run(probe(Path(sys.argv[1])))
