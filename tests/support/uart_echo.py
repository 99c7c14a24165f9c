"""A driver of a serial port as a process of its own: it echoes what comes, or swallows it.

    python -m tests.support.uart_echo ADDRESS [--sink] [--source N] [--count N] [--until TEXT]
                                         [--no-queue] [--pause SECONDS] [--one-byte-per-call]

It attaches to the device service at ADDRESS, prints "ready", and echoes until it has read N bytes,
or TEXT, or the port is lost, or SIGTERM comes; then it prints what it has done as JSON. `--pause`
makes a slow reader. With `--source` it sends N bytes once it has read something. With
`--one-byte-per-call` every register access is a message, as a driver without batches has it.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import signal
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import uvloop

from virtmesh.attach.bus import Bus
from virtmesh.attach.grpc_bus import GrpcBus
from virtmesh.attach.guest_ram import PAGE, Ram
from virtmesh.machine import DoorbellKind
from virtmesh.uart.driver.driver import NS16550a
from virtmesh_common.errors import DeviceLost

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from virtmesh.attach.bus import Access

READ_BYTES = 64 << 10
"""Most bytes of one read."""


class OneAtATime(Bus):
    """A bus that sends a message for each access. Batches stay whole: they take turns."""

    def __init__(self, bus: Bus) -> None:
        self.name = bus.name
        self.ram = bus.ram
        self.vectored = bus.vectored
        self.lost = bus.lost
        self._bus = bus
        self._turn = asyncio.Lock()

    async def access(self, batch: Sequence[Access]) -> list[int]:
        """Execute a batch, access by access."""
        values: list[int] = []
        async with self._turn:
            for one in batch:
                values += await self._bus.access([one])
                if not one.met_by(values[-1]):
                    break
        return values

    def notify(self, queue: int) -> None:
        """Ring a queue."""
        self._bus.notify(queue)

    def on_interrupt(self, handler: Callable[[int], object]) -> None:
        """Set the handler of interrupts."""
        self._bus.on_interrupt(handler)

    async def close(self) -> None:
        """Give the device back."""
        await self._bus.close()


@dataclass
class Echo:
    """Reads a port, and perhaps writes to it what it has read."""

    driver: NS16550a
    sink: bool
    source: int
    count: int | None
    until: bytes
    pause_s: float
    read: int = 0
    last: bytes = b""
    """What was read last: as much of it as `until` has."""
    digest: Any = field(default_factory=hashlib.sha256)

    @property
    def is_over(self) -> bool:
        """True once all is read that was to be read."""
        if self.until and self.last == self.until:
            return True
        return self.count is not None and self.read >= self.count

    async def run(self) -> None:
        """Go on until enough is read. Errors: DeviceLost."""
        if self.source:
            await self.driver.read(READ_BYTES)
            await self.driver.write(bytes(range(256)) * -(-self.source // 256))
        while not self.is_over:
            data = await self.driver.read(READ_BYTES)
            self.read += len(data)
            self.digest.update(data)
            if self.until:
                self.last = (self.last + data)[-len(self.until) :]
            if not self.sink:
                await self.driver.write(data)
            if self.pause_s:
                await asyncio.sleep(self.pause_s)
        await self.driver.drain()

    def report(self) -> dict[str, object]:
        """Return what was done."""
        raw = self.driver.raw
        return {
            "read": self.read,
            "sha256": self.digest.hexdigest(),
            "messages": raw.messages,
            "overruns_seen": raw.overruns_seen,
            **asdict(self.driver.counters),
        }


async def run(options: argparse.Namespace) -> None:
    """Attach, echo, and report."""
    with Ram(PAGE) as ram:
        bus: Bus = await GrpcBus.connect(
            options.address, ram=ram, driver_name="uart-echo", doorbell=DoorbellKind.MMIO
        )
        if options.one_byte_per_call:
            bus = OneAtATime(bus)
        try:
            driver = NS16550a(bus, kernel_queue=not options.no_queue)
            bus.on_interrupt(driver.handle_irq)
            await driver.start()
            print("ready", flush=True)  # noqa: T201 - this is what the program is for
            echo = Echo(
                driver,
                options.sink,
                options.source,
                options.count,
                options.until.encode(),
                options.pause,
            )
            lost = await until_the_end(echo)
            print(json.dumps({"lost": lost, **echo.report()}), flush=True)  # noqa: T201 - as above
            await driver.close()
        finally:
            await bus.close()


async def until_the_end(echo: Echo) -> str:
    """Echo until that is over; return how the port was lost, if that is why."""
    work = asyncio.create_task(echo.run())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, work.cancel)
    try:
        with suppress(asyncio.CancelledError):
            await work
    except DeviceLost as error:
        return error.message
    return ""


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="uart_echo")
    parser.add_argument("address")
    parser.add_argument("--sink", action="store_true", help="swallow instead of echoing")
    parser.add_argument("--source", type=int, default=0, help="send so many bytes")
    parser.add_argument("--count", type=int, help="end after so many bytes")
    parser.add_argument("--until", default="", help="end when this was read last")
    parser.add_argument("--no-queue", action="store_true", help="turn the kernel queue off")
    parser.add_argument("--pause", type=float, default=0.0, help="seconds between two reads")
    parser.add_argument("--one-byte-per-call", action="store_true")
    uvloop.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
