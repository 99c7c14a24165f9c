"""UartService over gRPC without a device, for tests of clients. The test plays the machine.

async with serving_line(address) as line:       # in this event loop
    line.say(b"login: ")

with ScriptedLine() as serial:                  # in a thread, for blocking clients
    with virtmesh_client.connect(serial.address) as machine: ...
    serial.say(b"login: ")
    assert serial.heard(5) == b"root."
"""

from __future__ import annotations

import asyncio
import tempfile
import threading
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from virtmesh.rpc.server import Server
from virtmesh.testing.memory_line import MemoryLine
from virtmesh.uart.counters import UartCounters
from virtmesh.uart.line.far_end import FarEnd
from virtmesh.uart.line.scrollback import SCROLLBACK_BYTES
from virtmesh.uart.service import SERVICE, UartService

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from virtmesh.uart.port import LineFormat, PortLines

Result = TypeVar("Result")

SECONDS = 20.0
"""Longest time of a blocking call of a test."""


@dataclass(eq=False)
class ScriptedSerial:
    """A serial device without a chip. Implements virtmesh.uart.service.SerialDevice."""

    line: MemoryLine
    far_end: FarEnd
    name: str = "serial"
    paced: bool = False
    attached: bool = True

    @property
    def uart_counters(self) -> UartCounters:
        """The counters of the line."""
        port = self.line.port
        return UartCounters(
            received=len(port.heard),
            transmitted=self.far_end.scrollback.end,
            refused_bytes=self.line.refused,
        )


@asynccontextmanager
async def serving_device(device: ScriptedSerial, address: str) -> AsyncIterator[UartService]:
    """Serve a device inside the `async with` block. At its end streams end with SHUTTING_DOWN."""
    server = Server([address])
    service = UartService(device)
    service.add_to(server.grpc)
    await server.start([SERVICE])
    try:
        yield service
    finally:
        service.end_streams()
        await server.stop()


@asynccontextmanager
async def serving_line(
    address: str, scrollback_bytes: int = SCROLLBACK_BYTES
) -> AsyncIterator[MemoryLine]:
    """Serve a new line inside the `async with` block."""
    line = MemoryLine()
    device = ScriptedSerial(line, FarEnd(line, scrollback_bytes))
    async with serving_device(device, address):
        yield line


class ScriptedLine:
    """UartService in a thread, on a unix socket of its own.

    `stop`, then `start` acts like a device service that was restarted: the epoch is new and the
    scrollback is empty. `stop`, then `start(anew=False)` acts like a connection that was lost.
    """

    def __init__(self, scrollback_bytes: int = SCROLLBACK_BYTES) -> None:
        self._scrollback_bytes = scrollback_bytes
        self._folder = tempfile.TemporaryDirectory(prefix="virtmesh-line-")
        self.address = f"unix:{Path(self._folder.name) / 'serial.sock'}"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="line", daemon=True)
        self._device: ScriptedSerial | None = None
        self._serving: Any = None

    def __enter__(self) -> Self:
        self._thread.start()
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(SECONDS)
        self._loop.close()
        self._folder.cleanup()

    @property
    def device(self) -> ScriptedSerial:
        """The device. Use it on the service's thread only, as `do` does."""
        if self._device is None:
            raise RuntimeError("the service is not started: use it in a with statement")
        return self._device

    def start(self, *, anew: bool = True) -> None:
        """Begin to serve: a new device, or with `anew=False` the one before."""
        self._wait(self._start(anew=anew))

    def stop(self) -> None:
        """End every stream, and stop serving."""
        self._wait(self._stop())

    def do(self, function: Callable[[ScriptedSerial], Result]) -> Result:
        """Call a function on the service's thread, such as `lambda it: it.line.port.take(5)`."""

        async def call() -> Result:
            return function(self.device)

        return self._wait(call())

    def say(self, data: bytes) -> None:
        """Send data as the machine."""
        self.do(lambda device: device.line.say(data))

    def move(self, lines: PortLines) -> None:
        """Set the lines that the machine drives."""
        self.do(lambda device: device.line.move(lines))

    def set_format(self, line_format: LineFormat) -> None:
        """Set the format of the line, as a driver does."""
        self.do(lambda device: device.line.set_format(line_format))

    def take(self, room: int) -> None:
        """Make room in the machine for `room` characters."""
        self.do(lambda device: device.line.port.take(room))

    def heard(self, count: int) -> bytes:
        """Wait until the machine has received `count` characters; return all that it has."""
        return self._wait(self.device.line.heard(count))

    async def _start(self, *, anew: bool) -> None:
        if anew or self._device is None:
            line = MemoryLine()
            self._device = ScriptedSerial(line, FarEnd(line, self._scrollback_bytes))
        self._serving = serving_device(self._device, self.address)
        await self._serving.__aenter__()

    async def _stop(self) -> None:
        serving, self._serving = self._serving, None
        if serving is not None:
            await serving.__aexit__(None, None, None)

    def _wait(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine on the service's thread. Errors: TimeoutError; those of the coroutine."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(SECONDS)
