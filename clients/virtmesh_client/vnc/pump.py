"""Brings what one viewer does to one input device. The viewer never waits for it.

Events queue while the device is slow. They are dropped, and counted, when there are too many, when
the device's own waiting room is full, and while the device is lost. Then all that this viewer holds
down is released: what its events said of it is not complete.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from virtmesh_client.aio.threads import run
from virtmesh_common.errors import DeviceNotReady, VirtmeshError
from virtmesh_common.input.events import join_packets

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from virtmesh_client.async_machine import AsyncMachine
    from virtmesh_client.input.aio import AsyncInput
    from virtmesh_client.input.models import InputInfo
    from virtmesh_common.input.events import Packet

QUEUE_MAX = 512
"""Most events that wait for a device."""
RETRY_SECONDS = 0.5
"""How long events are dropped after a failure, before the device is tried again."""
STUCK_SECONDS = 2.0
"""How long a device may accept nothing."""

Happening = TypeVar("Happening")
Given_contra = TypeVar("Given_contra", contravariant=True)


class Translator(Protocol[Given_contra]):
    """Says what a device does for an event of a viewer."""

    def translate(self, event: Given_contra, /) -> Sequence[Packet | str]:
        """Return packets, and characters that the device service is to type."""


class Pump(Generic[Happening]):
    """A queue, and the task `run` that empties it into a device."""

    def __init__(
        self,
        machine: AsyncMachine,
        name: str,
        make: Callable[[InputInfo], Translator[Happening]],
        merge: Callable[[Happening, Happening], Happening | None],
        tell: Callable[[str], None],
    ) -> None:
        self.name = name
        self.dropped = 0
        """Events that never reached the device."""
        self._machine = machine
        self._make = make
        self._merge = merge
        self._tell = tell
        self._queue: deque[Happening] = deque()
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()
        self._emptied.set()
        self._overflowed = False
        self._device: AsyncInput | None = None
        self._translator: Translator[Happening] | None = None

    def put(self, event: Happening) -> None:
        """Add an event; never wait."""
        merged = self._merge(self._queue[-1], event) if self._queue else None
        if merged is not None:
            self._queue[-1] = merged
            return
        if len(self._queue) >= QUEUE_MAX:
            self._overflowed = True
            self._drop_queue()
        self._queue.append(event)
        self._emptied.clear()
        self._filled.set()

    async def finish(self) -> None:
        """Wait until all events have been sent."""
        await self._emptied.wait()

    async def run(self) -> None:
        """Send events until the task is cancelled; then release what is held."""
        try:
            while True:
                await self._filled.wait()
                self._filled.clear()
                await self._empty()
                self._emptied.set()
        finally:
            await self._release()
            if self.dropped:
                self._tell(f"{self.name}: {self.dropped} events of the viewer were dropped")

    async def _empty(self) -> None:
        """Send all that waits."""
        while self._queue:
            events = list(self._queue)
            self._queue.clear()
            try:
                await self._send(events)
            except VirtmeshError as error:
                if not self.dropped:
                    self._tell(f"{self.name}: events of the viewer are dropped: {error.message}")
                self.dropped += len(events)
                await self._release()
                await asyncio.sleep(RETRY_SECONDS)
                self._drop_queue()
            if self._overflowed:
                self._overflowed = False
                await self._release()

    def _drop_queue(self) -> None:
        self.dropped += len(self._queue)
        self._queue.clear()

    async def _send(self, events: list[Happening]) -> None:
        """Send events. Errors: VirtmeshError, when some did not reach the device."""
        if self._device is None or self._translator is None:
            self._device = self._machine.input(self.name, overflow="refuse", timeout=STUCK_SECONDS)
            self._translator = self._make(await self._device.info())
        steps = await run(partial(translate_all, self._translator, events))
        for is_text, group in groupby(steps, key=lambda step: isinstance(step, str)):
            if is_text:
                await self._device.type("".join(one for one in group if isinstance(one, str)))
                continue
            packets = [one for one in group if not isinstance(one, str)]
            done = await self._device.inject(join_packets(packets))
            if done.refused or done.lost:
                raise DeviceNotReady(
                    f"{done.refused} packets found no room, {done.lost} lost their driver"
                )

    async def _release(self) -> None:
        """Release what this viewer holds on the device, and begin anew with the next event."""
        device, self._device, self._translator = self._device, None, None
        if device is not None:
            with contextlib.suppress(VirtmeshError):
                await device.close()


def translate_all(translator: Translator[Happening], events: list[Happening]) -> list[Packet | str]:
    """Translate events in order. A layout may take its time the first time."""
    return [step for event in events for step in translator.translate(event)]
