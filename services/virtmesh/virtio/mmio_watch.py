"""What the observer of a virtio device sees: the registers of the set-up, and the flags of rings.

QueueNotify, InterruptStatus, InterruptACK and ConfigGeneration are not watched, and Status is only
until its first read after FEATURES_OK: a driver at work pays nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh.report.dialogue import Dialogue
from virtmesh.report.event import RingFlags
from virtmesh.report.observer import Observer
from virtmesh.report.rules import rules_for
from virtmesh_common.api.trace.v1 import trace_pb2
from virtmesh_common.errors import RegisterError
from virtmesh_common.registers import Access
from virtmesh_common.virtio import mmio
from virtmesh_common.virtio.features import Feature
from virtmesh_common.virtio.status import Status

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from virtmesh.virtio.device import VirtioDevice
    from virtmesh.virtio.mmio_queues import MmioQueue, MmioQueues, ReadyQueue
    from virtmesh_common.registers import Register

HOT = frozenset(
    (mmio.QUEUE_NOTIFY, mmio.INTERRUPT_STATUS, mmio.INTERRUPT_ACK, mmio.CONFIG_GENERATION)
)
"""Registers of a driver at work."""
WATCHED = tuple(
    one for one in mmio.REGISTERS if one.access is not Access.RESERVED and one not in HOT
)


class MmioWatch:
    """Readers and writers of a register window that tell its observer.

    `now` returns the features on offer and the device status.
    """

    def __init__(
        self,
        model: VirtioDevice,
        queues: MmioQueues,
        now: Callable[[], tuple[int, int]],
        readers: Mapping[Register, Callable[[], int]],
        writers: Mapping[Register, Callable[[int], None]],
    ) -> None:
        dialogue = Dialogue(
            kind=model.kind,
            offered=lambda: now()[0],
            status_now=lambda: now()[1],
            missing=model.missing_feature,
            has_shared_memory=bool(model.shared_memory),
        )
        self.observer = Observer(model.interrupt, rules_for(model.kind), dialogue)
        self.observer.refresh = self._look_at_rings
        self._queues = queues
        queues.on_ring = self._look
        self.readers, self.writers = self.observer.watch(
            (*WATCHED, *model.config), readers, writers
        )
        self._plain_status = readers[mmio.STATUS]
        self._watched_status = self.readers[mmio.STATUS]
        self.readers[mmio.STATUS] = self._plain_status
        self._watched_status_write = self.writers[mmio.STATUS]
        self.writers[mmio.STATUS] = self._write_status

    def reset(self) -> None:
        """Look at the rings a last time: a reset of the device begins."""
        self._look_at_rings()
        self.observer.dialogue.reset()

    def notify(self, queue: int) -> None:
        """Notify a queue for DoorbellService. Errors: NoSuchQueue, DriverViolation."""
        try:
            self._queues.kick(queue, trace_pb2.NOTIFY_WAY_RPC)
        except RegisterError as error:
            where = mmio.QUEUE_NOTIFY
            self.observer.refused(where, where.offset, where.size, True, queue, error)  # noqa: FBT003
            raise

    def _write_status(self, value: int) -> None:
        """Write Status; after FEATURES_OK the observer is told of the next read of it."""
        self._watched_status_write(value)
        if value & Status.FEATURES_OK and not value & Status.DRIVER_OK:
            self.readers[mmio.STATUS] = self._read_status_once

    def _look_at_rings(self) -> None:
        """Tell the observer the flags of every split queue that is ready."""
        for queue, ready in self._queues.split_rings():
            self._look(queue, ready, False)  # noqa: FBT003

    def _look(self, queue: MmioQueue, ready: ReadyQueue, is_new: bool) -> None:  # noqa: FBT001
        """Tell the observer the flags of a split queue. Its areas are inside guest memory.

        Those of the used ring are judged while a queue is set up with an empty available ring: the
        used ring of one that goes on has the flags of the device.
        """
        read = ready.memory.read
        area = queue.driver_area
        flags, idx = (int.from_bytes(read(area + at, 2), "little") for at in (0, 2))
        used = None
        if is_new and idx == 0:
            used = int.from_bytes(read(queue.device_area, 2), "little")
        event_idx = self._queues.has(Feature.VIRTIO_F_EVENT_IDX)
        self.observer.tell(RingFlags(queue.index, flags, used, event_idx))

    def _read_status_once(self) -> int:
        """Read Status, and tell the observer."""
        self.readers[mmio.STATUS] = self._plain_status
        return self._watched_status()
