# ruff: noqa: B027 - what a scripted device is not told to do, it does by doing nothing
"""The common part of devices whose every answer a test decides: queues, and nothing surprising."""

from __future__ import annotations

import asyncio
import os
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING

from virtmesh_native import DeviceQueue, Interrupt

from virtmesh_common.errors import DriverViolation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from virtmesh_native import GuestMemory, QueueConfig

    from virtmesh.virtio.device import SharedMemory
    from virtmesh_common.registers import Register

Buffer = tuple[int, int]
"""A buffer: guest address and length in bytes."""


class ScriptedDevice(ABC):
    """The part of virtmesh.virtio.device.VirtioDevice that is the same for all of them."""

    shared_memory: Mapping[int, SharedMemory] = {}
    notifications = 0

    def __init__(self, name: str, features: int, queue_size_max: Sequence[int]) -> None:
        self.name = name
        self.device_features = features
        self.queue_size_max = queue_size_max
        self.interrupt = Interrupt()
        self.config_generation = 0
        self.requests = 0
        self._rings: dict[int, tuple[DeviceQueue, GuestMemory, int | None]] = {}
        self._bases: dict[int, int] = {}
        self._news = asyncio.Event()

    @abstractmethod
    def take(
        self, queue: int, head: int, readable: Sequence[Buffer], writable: Sequence[Buffer]
    ) -> None:
        """Take a chain that the driver made available."""

    def memory(self, queue: int) -> GuestMemory:
        """Return the memory of the driver of a queue."""
        return self._rings[queue][1]

    def give_back(self, queue: int, head: int, written: int) -> None:
        """Give a chain back as used; `written` is what the device says that it wrote."""
        ring, _, _ = self._rings[queue]
        self.requests += 1
        ring.push(head, written)
        if ring.needs_interrupt():
            self.interrupt.raise_used(queue)

    async def until_more(self) -> None:
        """Wait until the driver has made something available."""
        self._news.clear()
        await self._news.wait()

    def write_config(self, field: Register, value: int) -> None:
        """Refuse: nothing is writable."""
        raise DriverViolation(f"{field.name} is not writable")

    def missing_feature(self, features: int) -> str:
        """Miss none."""
        return ""

    def negotiate(self, features: int) -> None:
        """Take any features."""

    def start_queue(
        self, index: int, memory: GuestMemory, config: QueueConfig, kick: int | None
    ) -> None:
        """Serve a queue."""
        self._rings[index] = DeviceQueue(memory, config), memory, kick
        if kick is not None:
            asyncio.get_running_loop().add_reader(kick, self._kicked, index, kick)

    def kick(self, index: int) -> None:
        """Take what a queue has."""
        ring, _, _ = self._rings[index]
        while True:
            while (chain := ring.pop()) is not None:
                self.take(index, *chain)
            if not ring.enable_notifications():
                break
        self._news.set()

    def request_stop(self, index: int) -> None:
        """Stop a queue."""
        ring, _, kick = self._rings.pop(index, (None, None, None))
        if ring is not None:
            self._bases[index] = ring.base
        if kick is not None:
            asyncio.get_running_loop().remove_reader(kick)

    def queue_base(self, index: int) -> int:
        """Return where a stopped queue can go on."""
        return self._bases.get(index, 0)

    def is_stopped(self, index: int) -> bool:
        """Say whether a queue is stopped."""
        return index not in self._rings

    def join(self, index: int) -> None:
        """Do nothing: a queue stops at once."""

    def close(self) -> None:
        """Do nothing: nothing is held."""

    def _kicked(self, index: int, kick: int) -> None:
        """Hear a queue's eventfd."""
        with suppress(BlockingIOError):
            os.eventfd_read(kick)
        self.kick(index)
