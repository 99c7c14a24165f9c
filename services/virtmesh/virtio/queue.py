"""The driver side of a virtqueue: a native ring in shared memory, and its notifications."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from virtmesh_native import DriverQueue, QueueConfig

from virtmesh.virtio.layout import QueueLayout
from virtmesh_common.virtio.features import Feature

if TYPE_CHECKING:
    from collections.abc import Sequence

    from virtmesh.attach.bus import Bus
    from virtmesh.virtio.mmio_driver import VirtIOHeader

Buffer = tuple[int, int]
"""A buffer: guest address and length in bytes."""


class VirtQueue:
    """Virtqueue `index` of a device, in pages of the bus's RAM.

    With VIRTIO_F_INDIRECT_DESC, chains of up to `chain_max` buffers take one entry each.
    """

    def __init__(self, bus: Bus, index: int, layout: QueueLayout, features: int) -> None:
        self.index = index
        self.layout = layout
        self.notifications = 0
        """Notifications sent."""
        self.notifications_suppressed = 0
        """Notifications not sent, because the device asked for none."""
        self._bus = bus
        config = QueueConfig(
            size=layout.size,
            descriptor_area=layout.descriptor_area,
            driver_area=layout.driver_area,
            device_area=layout.device_area,
            event_idx=bool(features & Feature.VIRTIO_F_EVENT_IDX),
            indirect=layout.indirect_area is not None,
            packed=layout.packed,
        )
        self._ring = DriverQueue(
            bus.ram.guest_memory,
            config,
            indirect_area=layout.indirect_area,
            indirect_entries=layout.indirect_entries,
            recorder=bus.recorder,
            index=index,
        )

    @classmethod
    async def set_up(
        cls, header: VirtIOHeader, index: int, size: int, *, chain_max: int
    ) -> VirtQueue:
        """Make a queue of `size` entries and set it up in the device.

        Errors: QueueUnusable; MemoryError if RAM has no room; DeviceLost.
        """
        indirect_entries = chain_max if header.has(Feature.VIRTIO_F_INDIRECT_DESC) else 0
        place = partial(
            QueueLayout.place,
            size=size,
            indirect_entries=indirect_entries,
            packed=header.has(Feature.VIRTIO_F_RING_PACKED),
        )
        base = header.bus.ram.pages.allocate(place(0).length)
        queue = cls(header.bus, index, place(base), header.features)
        await header.set_up_queue(index, queue.layout)
        return queue

    @property
    def in_flight(self) -> int:
        """Chains that were added and not used yet."""
        return self._ring.in_flight

    def add(self, readable: Sequence[Buffer], writable: Sequence[Buffer]) -> int | None:
        """Add a chain of buffers. Return its token, or None if the queue has no room for it."""
        return self._ring.add(readable, writable)

    def notify(self) -> None:
        """Notify the device of the added chains, if it wants to be notified."""
        if self._ring.should_notify():
            self.notifications += 1
            self._bus.notify(self.index)
        else:
            self.notifications_suppressed += 1

    def can_pop(self) -> bool:
        """Return True if a used chain waits."""
        return self._ring.can_pop()

    def pop_used(self) -> list[tuple[int, int]]:
        """Pop used chains: (token, bytes that the device wrote). Errors: RingCorrupt."""
        return self._ring.pop_used()

    def enable_interrupts(self) -> bool:
        """Ask for an interrupt at the next used chain. Return True if one waits already."""
        return self._ring.enable_interrupts()

    def disable_interrupts(self) -> None:
        """Ask for no interrupts."""
        self._ring.disable_interrupts()
