"""The link of a serial port to its processes: what one had that goes, whenever that is noticed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import grpc.aio
import pytest

from virtmesh.uart.driver.driver import NS16550a
from virtmesh.uart.driver.lives import SerialLives
from virtmesh.uart.lasting import LastingPort
from virtmesh_common.api.uart.v1 import uart_pb2 as pb
from virtmesh_common.api.uart.v1.uart_pb2_grpc import (
    UartServiceServicer,
    add_UartServiceServicer_to_server,
)
from virtmesh_common.channel import open_channel
from virtmesh_common.errors import DeviceLost

SECONDS = 20.0


class Process(UartServiceServicer):
    """A port's process that takes input, and says nothing of it. `epoch` is the present one."""

    def __init__(self) -> None:
        self.epoch = "a"
        self.given = {"a": b"", "b": b""}
        self.changed = asyncio.Event()
        self.end_stream = asyncio.Event()

    async def GetInfo(self, request: pb.GetInfoRequest, context: Any) -> pb.GetInfoResponse:
        """Say which process it is."""
        return pb.GetInfoResponse(epoch=self.epoch, scrollback_bytes=64)

    async def Open(self, requests: Any, context: Any) -> AsyncIterator[pb.OpenResponse]:
        """Take input until the stream is to end."""
        epoch = self.epoch
        await anext(requests)
        yield pb.OpenResponse(snapshot=pb.Snapshot(epoch=epoch))

        async def take() -> None:
            async for request in requests:
                self.given[epoch] += request.input.data
                self.changed.set()

        taking = asyncio.create_task(take())
        await self.end_stream.wait()
        self.end_stream.clear()
        taking.cancel()

    async def until_given(self, epoch: str, data: bytes) -> None:
        """Wait until a process has so much input."""
        while len(self.given[epoch]) < len(data):
            self.changed.clear()
            await self.changed.wait()
        assert self.given[epoch] == data


@dataclass(eq=False)
class PortDriver:
    """What a driver of the port knows."""

    lives: SerialLives
    gone: bool = False
    failed: asyncio.Future[DeviceLost] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def lose(self) -> None:
        """Take note that the process has gone by itself."""
        self.failed.set_result(DeviceLost("gone"))
        self.gone = True
        self.lives.orphan()

    def as_driver(self) -> NS16550a:
        """Return it for the link."""
        return cast("NS16550a", self)


@pytest.fixture
async def process(tmp_path: Path) -> AsyncIterator[Process]:
    """Serve a process of the port."""
    process = Process()  # type: ignore[abstract]
    server = grpc.aio.server()
    add_UartServiceServicer_to_server(process, server)
    server.add_insecure_port(f"unix:{tmp_path / 'serial.sock'}")
    await server.start()
    yield process
    await server.stop(None)


@pytest.fixture
def device() -> SimpleNamespace:
    """Count what was given again, as the kernel's device does."""
    return SimpleNamespace(resubmitted=0)


@pytest.fixture
async def port(
    process: Process, device: SimpleNamespace, tmp_path: Path
) -> AsyncIterator[LastingPort]:
    """Link a port to whichever process there is."""
    channel = open_channel(f"unix:{tmp_path / 'serial.sock'}")
    port = LastingPort("serial", cast("Any", device), lambda: channel)
    yield port
    process.end_stream.set()
    await port.close()
    await channel.close()


async def give_first(process: Process, port: LastingPort, first: PortDriver) -> None:
    """Have the first process come, and be given ten characters."""
    port.came(first.as_driver())
    port.line.send_now(b"0123456789")
    await process.until_given("a", b"0123456789")


@pytest.mark.parametrize("is_late", [False, True])
async def test_what_the_driver_has_read_is_not_given_to_the_next_process(
    process: Process, port: LastingPort, device: SimpleNamespace, *, is_late: bool
) -> None:
    """The next one is there before the end of the stream is noticed, and may be sent to already."""
    lives = SerialLives(64, 64)
    first, second = PortDriver(lives), PortDriver(lives)
    async with asyncio.timeout(SECONDS):
        await give_first(process, port, first)
        lives.now.received += 7
        first.lose()
        port.came(second.as_driver())
        if is_late:
            lives.settle()  # Its sender has waited for long enough.
        process.epoch = "b"
        process.end_stream.set()
        await process.until_given("b", b"789")
        port.line.send_now(b"z")
        await process.until_given("b", b"789z")
    assert device.resubmitted == 3


async def test_of_two_processes_that_go_the_first_one_had_the_input(
    process: Process, port: LastingPort
) -> None:
    """The second one has no stream yet when it goes."""
    lives = SerialLives(64, 64)
    first, second, third = PortDriver(lives), PortDriver(lives), PortDriver(lives)
    async with asyncio.timeout(SECONDS):
        await give_first(process, port, first)
        lives.now.received += 10
        first.lose()
        port.came(second.as_driver())
        lives.settle()
        second.lose()
        port.came(third.as_driver())
        process.epoch = "b"
        process.end_stream.set()
        port.line.send_now(b"z")
        await process.until_given("b", b"z")
