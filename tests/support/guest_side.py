"""What a guest keeps while the process of its device is killed and started anew.

Its RAM with its rings, the in-flight logs, and the register writes that lead to the state in which
the device is: what a CPU keeps for it. A `Guest` attaches by any Bus.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.support.vhost_user.front_end import FrontEndRam, FrontEndRing
from virtmesh.attach.bus import Bus
from virtmesh.attach.guest_ram import Ram
from virtmesh.attach.restore import config_fields, read_fingerprint, restore, run
from virtmesh.mmio.inflight_logs import make_logs
from virtmesh.virtio.mmio_driver import VirtIOHeader
from virtmesh_common.virtio.features import Feature
from virtmesh_common.virtio.mmio import INTERRUPT_ACK, QUEUE_NOTIFY, STATUS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from virtmesh.attach.bus import Access
    from virtmesh.attach.restore import Fingerprint, SavedWrite
    from virtmesh_common.api.device.v1 import device_pb2
    from virtmesh_common.registers import Register

RAM_BYTES = 16 << 20
NOT_KEPT = (QUEUE_NOTIFY.offset, INTERRUPT_ACK.offset)
"""Writes that lead to no state."""


class WriteKeeper(Bus):
    """A bus that keeps the writes since the last reset, and survives the bus under it."""

    def __init__(self, ram: Ram) -> None:
        self.ram = ram
        self.vectored = True
        self.writes: list[SavedWrite] = []
        self.under: Bus | None = None

    def put_on(self, bus: Bus, handler: Callable[[int], object]) -> None:
        """Use another bus from now on."""
        self.under, self.name, self.lost = bus, bus.name, bus.lost
        bus.on_interrupt(handler)

    async def access(self, batch: Sequence[Access]) -> list[int]:
        """Execute a batch, and keep its writes."""
        assert self.under is not None
        values = await self.under.access(batch)
        for one in batch:
            if one.offset == STATUS.offset and one.value == 0:
                self.writes.clear()
            elif one.value is not None and one.offset not in NOT_KEPT:
                self.writes.append((one.offset, one.width, one.value))
        return values

    def notify(self, queue: int) -> None:
        """Notify a queue. A device that is gone does not hear it."""
        if self.under is not None:
            self.under.notify(queue)

    def on_interrupt(self, handler: Callable[[int], object]) -> None:
        """Do nothing: see `put_on`."""

    async def close(self) -> None:
        """Close the bus under this one."""
        if self.under is not None:
            await self.under.close()
            self.under = None


class GuestRing(FrontEndRing):
    """A ring whose notifications go over a bus."""

    bus: WriteKeeper

    def notify(self) -> None:
        """Notify the device, if it wants that."""
        if self.queue.should_notify():
            self.bus.notify(self.index)


class Guest:
    """A guest of one virtio device, with these fields in its configuration space."""

    def __init__(self, about: device_pb2.DescribeResponse, config: Sequence[Register]) -> None:
        self.ram = Ram(RAM_BYTES)
        self.logs = make_logs(about.queue_size_max, about.kept_state_bytes)
        self.rings: list[GuestRing] = []
        self.interrupts = 0
        """Interrupts since the last attachment."""
        self.fingerprint: Fingerprint | None = None
        self._memory = FrontEndRam(
            RAM_BYTES, self.ram.address, descriptor=os.dup(self.ram.descriptor)
        )
        self._about = about
        self._config = config_fields(config)
        self.bus = WriteKeeper(self.ram)
        self.header = VirtIOHeader(self.bus)

    async def attach(self, bus: Bus) -> None:
        """Take a new attachment, before the guest runs."""
        self._put_on(bus)
        self.fingerprint = await run(bus.access, read_fingerprint(self._about, self._config))

    async def bring_up(self, *sizes: int, without: int = 0, wanted: int = -1) -> list[GuestRing]:
        """Reset the device, set up queues of these sizes, and go live."""
        for ring in self.rings:
            ring.close()
        self.rings.clear()
        required = int(Feature.VIRTIO_F_VERSION_1)
        features = await self.header.negotiate(wanted & ~without & (1 << 64) - 1, required, Feature)
        for index, size in enumerate(sizes):
            await self.add_ring(index, size, features)
        await self.header.go_live()
        return self.rings

    async def add_ring(self, index: int, size: int, features: int) -> GuestRing:
        """Make a ring, and set the queue up."""
        ring = GuestRing.make(index, self._memory, size, features)
        ring.bus = self.bus
        await self.header.set_up_queue(index, ring.layout)
        self.rings.append(ring)
        return ring

    async def restore(self, bus: Bus, about: device_pb2.DescribeResponse | None = None) -> None:
        """Restore a new process of the device. Errors: NotRestorable."""
        assert self.fingerprint is not None
        self._put_on(bus)
        steps = restore(self.bus.writes, self.fingerprint, about or self._about, self._config)
        await run(bus.access, steps)

    def _put_on(self, bus: Bus) -> None:
        """Hear the interrupts of a bus."""
        self.interrupts = 0
        self.bus.put_on(bus, self._interrupted)

    def _interrupted(self, _cause: int) -> None:
        """Wake who waits for a ring."""
        self.interrupts += 1
        for ring in self.rings:
            os.eventfd_write(ring.call, 1)

    async def close(self) -> None:
        """Close everything."""
        await self.bus.close()
        for ring in self.rings:
            ring.close()
        self._memory.close()
        self.ram.close()
        os.close(self.logs)
