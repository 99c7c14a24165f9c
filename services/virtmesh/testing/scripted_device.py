"""The base of devices whose every answer a test decides."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from virtmesh.virtio.queue_device import QueueDevice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from virtmesh.virtio.queue_device import ServedQueue


class ScriptedDevice(QueueDevice):
    """A device that tells a test when the driver has made something available."""

    def __init__(self, name: str, features: int, queue_size_max: Sequence[int]) -> None:
        super().__init__(name, queue_size_max, features)
        self._news = asyncio.Event()

    async def until_more(self) -> None:
        """Wait until the driver has made something available."""
        self._news.clear()
        await self._news.wait()

    def look(self, queue: ServedQueue) -> bool:
        """Take what a queue has, and wake who waits for it."""
        more = super().look(queue)
        self._news.set()
        return more
