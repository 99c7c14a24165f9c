"""A queue to an input device, on which a viewer never waits."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from virtmesh_client.input.models import Injected
from virtmesh_client.vnc.pump import QUEUE_MAX, Pump
from virtmesh_common.input.events import EV_KEY, Event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from virtmesh_client.async_machine import AsyncMachine
    from virtmesh_common.input.events import Packet


@dataclass
class Device:
    """A device that takes events when the test lets it, and refuses packets as told."""

    taken: list[int] = field(default_factory=list)
    refused: int = 0
    closed: int = 0
    free: asyncio.Event = field(default_factory=asyncio.Event)
    reached: asyncio.Event = field(default_factory=asyncio.Event)

    def input(self, _name: str, **_options: Any) -> Device:
        """Stand for the machine as well."""
        return self

    async def info(self) -> None:
        """Say nothing."""

    async def inject(self, events: Iterable[Event]) -> Injected:
        """Take events."""
        self.reached.set()
        await self.free.wait()
        self.taken += [one.code for one in events if not one.is_report]
        refused, self.refused = self.refused, 0
        return Injected("accepted", 1, 1, 1, 1, 1, 0, refused=refused)

    async def close(self) -> None:
        """Release everything."""
        self.closed += 1


class Presser:
    """Presses the key whose code is the event."""

    def translate(self, event: int, /) -> list[Packet]:
        """Return the packet."""
        return [(Event(EV_KEY, event, 1),)]


@asynccontextmanager
async def pumping(device: Device, lines: list[str]) -> AsyncIterator[Pump[int]]:
    """Run a pump for a while."""
    machine = cast("AsyncMachine", device)
    pump = Pump[int](
        machine, "keyboard", lambda _info: Presser(), lambda _a, _b: None, lines.append
    )
    task = asyncio.create_task(pump.run())
    try:
        yield pump
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_events_arrive_in_order() -> None:
    """And what is held is released at the end."""
    device, lines = Device(), list[str]()
    device.free.set()
    async with pumping(device, lines) as pump:
        for code in range(1, 100):
            pump.put(code)
        await pump.finish()
        assert (device.taken, device.closed) == ([*range(1, 100)], 0)
    assert (device.closed, lines) == (1, [])


async def test_a_device_that_is_slow() -> None:
    """What waits is bounded; too much is dropped, counted, and then all keys are released."""
    device, lines = Device(), list[str]()
    async with pumping(device, lines) as pump:
        pump.put(1)
        await device.reached.wait()
        for _ in range(QUEUE_MAX + 1):
            pump.put(2)
        assert pump.dropped == QUEUE_MAX
        device.free.set()
        await pump.finish()
        assert (device.taken, device.closed) == ([1, 2], 1)
    assert lines == [f"keyboard: {QUEUE_MAX} events of the viewer were dropped"]


async def test_a_device_without_room() -> None:
    """It refuses; what is held is released, and later events go on."""
    device, lines = Device(refused=1), list[str]()
    device.free.set()
    async with pumping(device, lines) as pump:
        pump.put(1)
        await pump.finish()
        assert (pump.dropped, device.closed) == (1, 1)
        pump.put(3)
        await pump.finish()
        assert device.taken == [1, 3]
    assert "1 packets found no room" in lines[0]
