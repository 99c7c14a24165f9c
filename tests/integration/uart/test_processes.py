"""A serial port and its driver as real processes: long echoes, overruns, and sudden deaths."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from virtmesh_common.channel import open_channel

import grpc.aio  # isort: skip

from tests.support.line_client import pattern
from tests.support.uart_clients import Terminal
from virtmesh_common.api.uart.v1 import uart_pb2 as pb
from virtmesh_common.api.uart.v1.uart_pb2_grpc import UartServiceStub
from virtmesh_common.errors import ServiceUnavailable

pytestmark = pytest.mark.processes

MIB = 1 << 20
CHUNK = 32 << 10
BURST = random.Random(7).randbytes(64 << 10)  # noqa: S311 - the same each time
END = "--- the end ---"
"""What a sender that waits sends behind a burst."""
END_S = 60
"""Longest wait for a process to end."""


@dataclass
class Driver:
    """A driver process that has attached."""

    process: subprocess.Popen[str]

    def end(self) -> dict[str, Any]:
        """Wait for the process to end; return its report."""
        report, _ = self.process.communicate(timeout=END_S)
        found: dict[str, Any] = json.loads(report)
        return found

    def stop(self) -> dict[str, Any]:
        """Ask the process to end; return its report."""
        self.process.terminate()
        return self.end()


@dataclass
class Port:
    """A device process, and what can be done with its port."""

    folder: Path
    stack: ExitStack

    @property
    def address(self) -> str:
        """Where the service is."""
        return f"unix:{self.folder / 'serial.sock'}"

    def start_device(self, *options: str) -> subprocess.Popen[str]:
        """Start the device service, and wait until it serves."""
        arguments = ("--name", "serial", "--listen", self.address, "--log", "json", *options)
        process = self._start(
            "virtmesh.host.main", "uart", *arguments, stdout=None, stderr=subprocess.PIPE
        )
        assert process.stderr is not None
        assert any(json.loads(line)["event"] == "serving" for line in process.stderr)
        return process

    def start_driver(self, *options: str) -> Driver:
        """Start a driver that echoes, and wait until it is at work."""
        process = self._start("tests.support.uart_echo", self.address, *options)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return Driver(process)

    def start_client(self, characters: int) -> subprocess.Popen[str]:
        """Start a client that sends so many characters and does not hang up."""
        return self._start("tests.support.line_client", self.address, str(characters))

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Any]:
        """Connect to the service."""
        async with open_channel(self.address) as channel:
            yield UartServiceStub(channel)

    def _start(
        self,
        module: str,
        *arguments: str,
        stdout: int | None = subprocess.PIPE,
        stderr: int | None = None,
    ) -> subprocess.Popen[str]:
        """Run a module as a process, which ends with the test."""
        command = [sys.executable, "-m", module, *arguments]
        process = subprocess.Popen(command, stdout=stdout, stderr=stderr, text=True)
        self.stack.enter_context(process)
        self.stack.callback(process.kill)
        return process


@pytest.fixture
def port(tmp_path: Path) -> Iterator[Port]:
    """Make a place for a port; at the end all its processes are gone."""
    with ExitStack() as stack:
        yield Port(tmp_path, stack)


async def send(terminal: Terminal, data: bytes, flow: pb.Flow.ValueType = pb.FLOW_WAIT) -> None:
    """Send input, message by message."""
    for start in range(0, len(data), CHUNK):
        await terminal.send(data[start : start + CHUNK], flow=flow)


@pytest.mark.timeout(300)
async def test_ten_mebibytes_go_each_way_at_once(port: Port) -> None:
    """Client, device, driver, and back: the same bytes, and few messages."""
    data = random.Random(10).randbytes(10 * MIB)  # noqa: S311 - the same each time
    port.start_device()
    driver = port.start_driver("--count", str(len(data)))

    async with port.connect() as stub:
        terminal = await Terminal.open(stub, watch=True)
        sending = asyncio.create_task(send(terminal, data))
        digest = hashlib.sha256()
        async for piece in terminal.pieces(len(data)):
            digest.update(piece)
        await sending
        stats = await stub.GetStats(pb.GetStatsRequest())

    report = driver.end()
    expected = hashlib.sha256(data).hexdigest()
    assert (report["sha256"], digest.hexdigest()) == (expected, expected)
    assert (stats.overruns, stats.transmit_overruns, report["overruns_seen"]) == (0, 0, 0)
    assert report["messages"] < 2 * len(data) / 1024


@pytest.mark.parametrize("options", [("--no-queue",), ("--no-queue", "--pause", "0.02")])
async def test_without_the_kernel_queue_a_burst_overruns(
    port: Port, options: tuple[str, ...]
) -> None:
    """64 KiB from a sender that does not look: every lost byte is one that the device counted."""
    port.start_device()
    driver = port.start_driver("--sink", "--until", END, *options)

    async with port.connect() as stub:
        terminal = await Terminal.open(stub)
        await send(terminal, BURST, pb.FLOW_NONE)
        taken = await terminal.taken(len(BURST))
        await terminal.send(END.encode())
        report = await asyncio.to_thread(driver.end)
        stats = await stub.GetStats(pb.GetStatsRequest())

    lost = len(BURST) + len(END) - report["read"]
    assert lost == stats.overruns == taken.overrun > 0
    assert report["overruns_seen"] > 0


async def test_with_the_kernel_queue_nothing_is_lost(port: Port) -> None:
    """The same burst, and a reader that is as slow."""
    port.start_device()
    driver = port.start_driver("--sink", "--pause", "0.02", "--count", str(len(BURST)))

    async with port.connect() as stub:
        terminal = await Terminal.open(stub)
        await send(terminal, BURST, pb.FLOW_NONE)
        taken = await terminal.taken(len(BURST))
        report = await asyncio.to_thread(driver.end)
        stats = await stub.GetStats(pb.GetStatsRequest())

    assert (stats.overruns, taken.overrun, report["overruns_seen"]) == (0, 0, 0)
    assert report["read"] == len(BURST)
    assert report["sha256"] == hashlib.sha256(BURST).hexdigest()


async def test_an_echo_works_access_by_access(port: Port) -> None:
    """What drivers without batches do works, at many times the messages."""
    port.start_device()
    driver = port.start_driver("--one-byte-per-call", "--count", "4096")

    async with port.connect() as stub:
        terminal = await Terminal.open(stub, watch=True)
        await send(terminal, BURST[:4096])
        assert await terminal.output(4096) == BURST[:4096]

    assert driver.end()["read"] == 4096


async def test_a_killed_device_is_lost_to_everyone(port: Port) -> None:
    """Client and driver hear at once; a new life of the service has a new epoch."""
    device = port.start_device()
    driver = port.start_driver()
    async with port.connect() as stub:
        terminal = await Terminal.open(stub, watch=True)
        writer = await Terminal.open(stub)
        sending = asyncio.create_task(send(writer, BURST * 200))
        await terminal.output(100_000)
        device.kill()

        error, _ = await terminal.error_and_rest()
        with pytest.raises(grpc.aio.AioRpcError):
            await sending
        assert isinstance(error, ServiceUnavailable)
        assert "its process ended" in driver.end()["lost"]

    port.start_device()
    port.start_driver()
    async with port.connect() as stub:
        again = await Terminal.open(
            stub, watch=True, offset=terminal.offset, epoch=terminal.snapshot.epoch
        )
        assert again.snapshot.restarted
        await again.send(b"hello")
        assert await again.output(5) == b"hello"


async def test_a_killed_client_costs_nobody_else_anything(port: Port) -> None:
    """What it had on the line arrives; others write and read as before."""
    port.start_device()
    driver = port.start_driver()
    async with port.connect() as stub:
        other = await Terminal.open(stub, watch=True)
        client = port.start_client(1000)
        assert await other.output(1000) == pattern(1000)
        client.kill()
        await other.send(b"still here")

        assert await other.output(10) == b"still here"
        while (await stub.GetInfo(pb.GetInfoRequest())).watchers > 1:
            pass
    assert driver.stop()["read"] == 1010


async def test_a_killed_driver_leaves_the_line_to_the_next(port: Port) -> None:
    """What waits on the line is there for it; what the dead one held is lost with it."""
    port.start_device()
    driver = port.start_driver()
    async with port.connect() as stub:
        terminal = await Terminal.open(stub, watch=True)
        await terminal.send(b"first")
        assert await terminal.output(5) == b"first"
        driver.process.send_signal(signal.SIGKILL)
        while (await stub.GetInfo(pb.GetInfoRequest())).attached:
            pass
        await send(terminal, BURST)

        port.start_driver()

        assert await terminal.output(len(BURST)) == BURST
        stats = await stub.GetStats(pb.GetStatsRequest())
        assert stats.unattended_bytes > 0
