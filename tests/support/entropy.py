"""A virtio entropy device (virtio 1.4, 5.4) and its driver: the smallest users of the virtio bases.

https://docs.oasis-open.org/virtio/virtio/v1.4/virtio-v1.4.html
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from virtmesh.drivers.interrupt_mode import InterruptMode
from virtmesh.drivers.virtio import VirtIODriver
from virtmesh.virtio.queue import VirtQueue
from virtmesh.virtio.queue_device import Chain, MalformedChain, QueueDevice
from virtmesh_common.errors import RingCorrupt, VirtmeshError
from virtmesh_common.virtio.features import Feature

if TYPE_CHECKING:
    from collections.abc import Sequence

    from virtmesh.attach.bus import Bus

VIRTIO_ID_ENTROPY = 4
REQUESTQ = 0
QUEUE_SIZE = 16
FILL = 0
"""The only type of request, as traces record it."""
FILL_MAX = 4096
"""Most bytes for one request: the device may use less than the whole buffer (5.4.6.1)."""


class EntropyModel(QueueDevice):
    """Fills the buffers of its queue with random bytes. It has no features of its own (5.4.3)."""

    kind = "entropy"
    device_id = VIRTIO_ID_ENTROPY
    queue_names = ("requestq",)

    def __init__(self, name: str = "rng", queue_size: int = QUEUE_SIZE) -> None:
        super().__init__(name, (queue_size,))

    def take(self, chain: Chain) -> None:
        """Fill the buffers of a request (5.4.6)."""
        if chain.readable or not chain.writable:
            raise MalformedChain("a request has writable buffers only (5.4.6.1)")
        length = min(chain.writable_bytes, FILL_MAX)
        chain.begin(FILL, extra=length)
        chain.push(chain.write(os.urandom(length)))


class EntropyDriver(VirtIODriver):
    """Asks for random bytes. Each request has pages of its own until it is completed."""

    device_id = VIRTIO_ID_ENTROPY
    family = Feature
    queue: VirtQueue

    def __init__(
        self,
        bus: Bus,
        interrupts: InterruptMode = InterruptMode.INTERRUPT,
        *,
        refused: int = 0,
    ) -> None:
        super().__init__(bus, interrupts, refused=refused)
        self._waiting: dict[int, tuple[int, int, asyncio.Future[bytes]]] = {}

    async def set_up(self) -> None:
        """Set the queue up, as large as the device allows."""
        size = await self.header.queue_size_max(REQUESTQ)
        self.queue = await VirtQueue.set_up(self.header, REQUESTQ, size, chain_max=4)
        self.queues.append(self.queue)

    async def read(self, *lengths: int) -> bytes:
        """Return random bytes, as many as the device gives for buffers of these lengths."""
        address = self.bus.ram.pages.allocate(sum(lengths))
        buffers = [(address + sum(lengths[:i]), length) for i, length in enumerate(lengths)]
        answer = self.add([], buffers, address)
        self.notify(self.queue)
        return await answer

    def add(
        self,
        readable: Sequence[tuple[int, int]],
        writable: Sequence[tuple[int, int]],
        address: int,
    ) -> asyncio.Future[bytes]:
        """Add any chain without ringing; its answer is what was written from an address on."""
        token = self.queue.add(readable, writable)
        if token is None:
            raise RuntimeError("the queue is full")
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[token] = (address, sum(length for _, length in writable), answer)
        return answer

    def completed(self, queue: VirtQueue, token: int, written: int) -> None:
        """Take the bytes of a request out of its pages."""
        address, room, answer = self._waiting.pop(token)
        if written > room:
            raise RingCorrupt(f"{written} bytes were written to a buffer of {room}")
        answer.set_result(self.bus.ram.guest_memory.read(address, written))
        self.bus.ram.pages.release(address)

    def abandon(self, error: VirtmeshError) -> None:
        """Let every reader fail."""
        for _, _, answer in self._waiting.values():
            answer.set_exception(error)
        self._waiting.clear()
