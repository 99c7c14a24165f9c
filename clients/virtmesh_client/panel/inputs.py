"""The input events that drivers receive, whoever injected them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from virtmesh_client.input.watch import DROPPED
from virtmesh_client.panel.deliveries import Deliveries, spell_delivery
from virtmesh_common.errors import VirtmeshError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from virtmesh_client.async_machine import AsyncMachine
    from virtmesh_client.input.models import Received

KEPT = 200
"""Events that a page gets at its start."""
WAITING_MAX = 2000
"""Most events that wait for what the recorders say of them: the oldest are dropped."""
PATIENCE_SECONDS = 1.5
PATIENCE_LOOKS = 4
"""How long an event waits for that, and for how many looks at the recorders: they take their time
on a busy host."""


class InputDesk:
    """Watches input devices. All methods run on the event loop."""

    def __init__(self, machine: AsyncMachine) -> None:
        self._machine = machine
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._waiting: deque[tuple[float, int, str, Received]] = deque(maxlen=WAITING_MAX)
        self._looks = 0
        self.kept: deque[dict[str, Any]] = deque(maxlen=KEPT)

    async def follow(self, devices: Sequence[str]) -> None:
        """Watch these devices, and no others."""
        for name in [name for name, task in self._tasks.items() if task.done()]:
            del self._tasks[name]
        await self._end(set(self._tasks) - set(devices))
        for name in set(devices) - set(self._tasks):
            self._tasks[name] = asyncio.create_task(self._watch(name))

    def match(self, deliveries: Deliveries) -> list[dict[str, Any]]:
        """Return the events that something is known of, or that have waited long enough."""
        found: list[dict[str, Any]] = []
        now = time.monotonic()
        self._looks += 1
        while self._waiting:
            arrived, looks, device, received = self._waiting[0]
            chain = deliveries.match(device, received)
            is_early = now - arrived < PATIENCE_SECONDS or self._looks - looks < PATIENCE_LOOKS
            if chain is None and is_early:
                break
            self._waiting.popleft()
            found.append(spell_delivery(device, received, chain))
        self.kept.extend(found)
        return found

    async def close(self) -> None:
        """Watch nothing."""
        await self._end(set(self._tasks))

    async def _end(self, names: set[str]) -> None:
        """End watches."""
        tasks = [self._tasks.pop(name) for name in names]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, name: str) -> None:
        """Take the events of one device in, until it goes away: the hub begins anew."""
        with contextlib.suppress(VirtmeshError):
            async with self._machine.input(name) as device, await device.watch() as watch:
                async for received in watch:
                    if received.event == DROPPED:
                        return  # another driver counts anew
                    self._waiting.append((time.monotonic(), self._looks, name, received))
