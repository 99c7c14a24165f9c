"""A serial driver on a bench: on the true port, or on one that does not tell the truth.

async with started(Liar({"LSR": lambda value: value | Lsr.OE})) as one:
    await one.driver.write(b"hello")
    assert one.end.heard == b"hello"
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.support.line_end import LineEnd
from virtmesh.attach.guest_ram import PAGE, Ram
from virtmesh.drivers.settings import Settings
from virtmesh.machine import DoorbellKind
from virtmesh.testing.local_bus import LocalBus
from virtmesh.uart.driver.driver import NS16550a
from virtmesh.uart.model import UartDevice, UartOptions
from virtmesh_common.uart.spec import Registers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from virtmesh.attach.bus import Access
    from virtmesh.mmio.device import Cycles

Lie = Callable[[int], int]
"""Makes of the true value of a register the one that is read."""
REGISTERS = Registers()


class Liar(UartDevice):
    """A port that says something else than the truth, register by register, and has no runs."""

    def __init__(self, lies: Mapping[str, Lie]) -> None:
        super().__init__("serial", UartOptions())
        readable = [*REGISTERS.main[:1], *REGISTERS.main[2:]]  # RBR, and all but THR
        self.lies = {one.offset: lies[one.name] for one in readable if one.name in lies}

    def read(self, offset: int, width: int) -> int:
        """Read a register."""
        value = super().read(offset, width)
        return self.lies.get(offset, int)(value)

    def read_run(self, offset: int, width: int, count: int) -> bytes:
        """Have every read done by `read`."""
        return b""

    def run_cycles(self, cycles: Cycles) -> Sequence[int]:
        """Have every access done by itself."""
        return ()


class HangingBus(LocalBus):
    """A bus whose accesses wait for ever, once `hanging` is set."""

    hanging = False

    async def access(self, batch: Sequence[Access]) -> list[int]:
        """Wait, perhaps for ever."""
        if self.hanging:
            await asyncio.Event().wait()
        return await super().access(batch)


@dataclass
class Rig:
    """A driver that may be started, and its port."""

    device: UartDevice
    bus: HangingBus
    driver: NS16550a
    end: LineEnd = field(init=False)

    def __post_init__(self) -> None:
        self.end = LineEnd(self.device.line)


@asynccontextmanager
async def bench(
    device: UartDevice | None = None,
    properties: Mapping[str, int] | None = None,
    *,
    queue_bytes: int = 1024,
) -> AsyncIterator[Rig]:
    """Attach a driver to a port, the true one if none is given."""
    device = device or UartDevice("serial", UartOptions())
    with Ram(PAGE) as ram:
        bus = HangingBus(device, ram, DoorbellKind.MMIO)
        if properties is None:
            driver = NS16550a(bus, queue_bytes=queue_bytes)
        else:
            driver = NS16550a.from_node(bus, properties, Settings())
        bus.on_interrupt(driver.handle_irq)
        try:
            yield Rig(device, bus, driver)
        finally:
            bus.hanging = False
            await driver.close()
            await bus.close()


@asynccontextmanager
async def started(
    device: UartDevice | None = None, *, queue_bytes: int = 1024
) -> AsyncIterator[Rig]:
    """Start a driver."""
    async with bench(device, queue_bytes=queue_bytes) as one:
        await one.driver.start()
        yield one


async def read(driver: NS16550a, count: int) -> bytes:
    """Read so many bytes."""
    data = bytearray()
    while len(data) < count:
        data += await driver.read(count - len(data))
    return bytes(data)


async def until(condition: Callable[[], object]) -> None:
    """Let others run until something is so."""
    while not condition():  # noqa: ASYNC110 - what is waited for has no event
        await asyncio.sleep(0)
