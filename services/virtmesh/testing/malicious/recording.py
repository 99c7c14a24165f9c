"""Recording what a driver does: its register accesses, its notifications, its memory in between."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh.attach.bus import Bus
from virtmesh.attach.guest_ram import PAGE
from virtmesh.testing.malicious.dialogue import (
    Dialogue,
    Memory,
    Notify,
    RegisterRead,
    RegisterWrite,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from virtmesh.attach.bus import Access
    from virtmesh.drivers.base import Driver
    from virtmesh.testing.malicious.dialogue import Step

BLOCK = 16
"""Memory is compared in blocks of so many bytes: a descriptor."""


class RecordingBus(Bus):
    """A bus that notes what goes over another one."""

    def __init__(self, bus: Bus) -> None:
        self.name, self.kind, self.recorder = bus.name, bus.kind, bus.recorder
        self.channel, self.ram = bus.channel, bus.ram
        self.vectored, self.lost = bus.vectored, bus.lost
        self.steps: list[Step] = []
        self._bus = bus
        self._before = bytes(bus.ram.size)

    async def access(self, batch: Sequence[Access]) -> list[int]:
        """Execute accesses; note those that are executed."""
        self._note_memory()
        values = await self._bus.access(batch)
        for one, _ in zip(batch, values, strict=False):
            if one.value is None:
                self.steps.append(RegisterRead(one.offset, one.width))
            else:
                self.steps.append(RegisterWrite(one.offset, one.width, one.value))
        return values

    def notify(self, queue: int) -> None:
        """Notify a queue."""
        self._note_memory()
        self.steps.append(Notify(queue))
        self._bus.notify(queue)

    def on_interrupt(self, handler: Callable[[int], object]) -> None:
        """Set the handler of interrupts."""
        self._bus.on_interrupt(handler)

    async def close(self) -> None:
        """Do nothing: whoever made the other bus closes it."""

    def _note_memory(self) -> None:
        """Note what has changed in memory since the step before."""
        with self.ram.view(self.ram.address, self.ram.size) as view:
            now = bytes(view)
        if now != self._before:
            self.steps += differences(self._before, now, self.ram.address)
            self._before = now


def differences(before: bytes, now: bytes, address: int) -> Iterator[Memory]:
    """Give the runs of blocks that differ."""
    for page in range(0, len(now), PAGE):
        if before[page : page + PAGE] == now[page : page + PAGE]:
            continue
        start: int | None = None
        for place in range(page, page + PAGE + BLOCK, BLOCK):
            end = place == page + PAGE
            differs = not end and before[place : place + BLOCK] != now[place : place + BLOCK]
            if differs and start is None:
                start = place
            elif not differs and start is not None:
                yield Memory(address + start, now[start:place])
                start = None


async def record(
    bus: Bus,
    make_driver: Callable[[Bus], Driver],
    use: Callable[[Driver], Awaitable[object]] | None = None,
) -> Dialogue:
    """Start a driver on an attached device, use it, and return what it did.

    Errors: those of the driver.
    """
    recording = RecordingBus(bus)
    driver = make_driver(recording)
    recording.on_interrupt(driver.handle_irq)
    try:
        await driver.start()
        if use is not None:
            await use(driver)
    finally:
        await driver.close()
    return Dialogue(bus.ram.address, bus.ram.size, tuple(recording.steps))
