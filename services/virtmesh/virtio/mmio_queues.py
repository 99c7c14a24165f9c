"""The Queue registers of virtio over MMIO: set-up, start and reset of queues (virtio 1.4, 4.2.3.2).

A queue is served while it is ready and the device is live (DRIVER_OK). Stopping takes until the
requests being executed are complete. QueueReady reads 1 until then, because the device may still
access the queue, which it must not do while QueueReady is 0 (4.2.2.1).

A driver may hand over in-flight logs. A queue that is started then resumes where its log says: the
chains that an earlier process took and did not use come first. A log belongs to one life of its
queue, so it is cleared where that ends: by a reset of the device or of the queue, and by
QueueReady 0, even of a queue that is not ready. Attaching and detaching leave it alone.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import structlog
from virtmesh_native import DeviceQueue, QueueConfig

from virtmesh_common.api.trace.v1 import trace_pb2
from virtmesh_common.errors import (
    BadValue,
    DriverViolation,
    MemoryRefused,
    NoSuchQueue,
    RingCorrupt,
    VirtmeshError,
)
from virtmesh_common.virtio import mmio
from virtmesh_common.virtio.features import Feature

if TYPE_CHECKING:
    from collections.abc import Callable

    from virtmesh_native import GuestMemory, InFlightLog

    from virtmesh.mmio.device import Attachment
    from virtmesh.mmio.inflight_logs import InFlightLogs
    from virtmesh.virtio.device import VirtioDevice
    from virtmesh_common.registers import Register

log = structlog.get_logger(__name__)

_LOW = 0xFFFF_FFFF


@dataclass(frozen=True)
class Active:
    """What exists from FEATURES_OK to the end of the next reset: features, and the driver's RAM."""

    features: int
    attachment: Attachment | None

    def __contains__(self, feature: Feature) -> bool:
        return bool(self.features & feature)


@dataclass(frozen=True)
class ReadyQueue:
    """What exists while QueueReady is 1: checked configuration, and the driver's kick eventfd."""

    memory: GuestMemory
    config: QueueConfig
    kick: int | None
    log: InFlightLog | None


@dataclass
class MmioQueue:
    """The registers of one queue: size in entries, areas as guest physical addresses."""

    index: int
    size_max: int
    size: int = 0
    descriptor_area: int = 0
    driver_area: int = 0
    device_area: int = 0
    ready: ReadyQueue | None = None
    """Set while QueueReady is 1."""
    stopping: bool = False
    """The driver has stopped or reset the queue, and the device still executes requests of it."""
    resetting: bool = False
    """The driver has reset the queue, and the reset is not complete."""


class MmioQueues:
    """The queues of one device, and the registers through which the driver sets them up."""

    def __init__(self, model: VirtioDevice) -> None:
        self._model = model
        self._queues = [MmioQueue(*pair) for pair in enumerate(model.queue_size_max)]
        self._selector = 0
        self._active: Active | None = None
        self._live = False
        self._closing = False
        self.logs: InFlightLogs | None = None
        """The in-flight logs of the driver that is attached, if it has any."""
        self.on_ring: Callable[[MmioQueue, ReadyQueue, bool], None] | None = None
        """Hears of a split queue that is set up (True) or about to be stopped."""

    def __len__(self) -> int:
        return len(self._queues)

    def readers(self) -> dict[Register, Callable[[], int]]:
        """Return the reader of each register."""
        return {
            mmio.QUEUE_SIZE_MAX: lambda: queue.size_max if (queue := self._selected) else 0,
            mmio.QUEUE_READY: lambda: int(bool((queue := self._settled) and queue.ready)),
            mmio.QUEUE_RESET: lambda: int(bool((queue := self._settled) and queue.resetting)),
        }

    def writers(self) -> dict[Register, Callable[[int], None]]:
        """Return the writer of each register."""
        return {
            mmio.QUEUE_SEL: self._select,
            mmio.QUEUE_SIZE: self._write_size,
            mmio.QUEUE_READY: self._write_ready,
            mmio.QUEUE_RESET: self._write_reset,
            mmio.QUEUE_DESC_LOW: partial(self._write_area, "descriptor_area", 0),
            mmio.QUEUE_DESC_HIGH: partial(self._write_area, "descriptor_area", 32),
            mmio.QUEUE_DRIVER_LOW: partial(self._write_area, "driver_area", 0),
            mmio.QUEUE_DRIVER_HIGH: partial(self._write_area, "driver_area", 32),
            mmio.QUEUE_DEVICE_LOW: partial(self._write_area, "device_area", 0),
            mmio.QUEUE_DEVICE_HIGH: partial(self._write_area, "device_area", 32),
        }

    def activate(self, active: Active) -> None:
        """Allow set-up: features are negotiated."""
        self._active = active

    def has(self, feature: Feature) -> bool:
        """Return True if a feature is negotiated."""
        return self._active is not None and feature in self._active

    def split_rings(self) -> list[tuple[MmioQueue, ReadyQueue]]:
        """Return the split queues that are ready."""
        if self.has(Feature.VIRTIO_F_RING_PACKED):
            return []
        return [(queue, queue.ready) for queue in self._queues if queue.ready]

    def go_live(self) -> None:
        """Serve the queues that are ready, and from now on each that becomes ready."""
        self._live = True
        for queue in self._queues:
            if queue.ready:
                self._start(queue.index, queue.ready)

    def kick(self, index: int, way: trace_pb2.NotifyWay.ValueType) -> None:
        """Pass a notification of a queue to the model. `way` is for the recorder.

        Errors: NoSuchQueue, DriverViolation before DRIVER_OK (3.1.1).
        """
        if index >= len(self._queues):
            raise NoSuchQueue(
                f"queue {index} was notified; the device has {len(self._queues)} queues"
            )
        if not self._live:
            raise DriverViolation(f"queue {index} was notified before DRIVER_OK (3.1.1)")
        recorder = self._model.interrupt.recorder
        recorder.record(trace_pb2.EVENT_KIND_NOTIFY, detail=way, queue=index)
        if not self._model.interrupt.loses_notification(index):
            self._model.kick(index)

    def abandon(self) -> None:
        """Begin to stop all queues, for a reset of the device."""
        self._closing = True
        self._live = False
        for queue in self._queues:
            self._model.abandon(queue.index)

    @property
    def stopped(self) -> bool:
        """True when no queue is served any more."""
        return all(self._model.is_stopped(queue.index) for queue in self._queues)

    @property
    def stopping(self) -> bool:
        """True while the stop of a single queue is under way."""
        return any(queue.stopping for queue in self._queues)

    @property
    def stuck(self) -> str:
        """The request that a stop waits for, in words; empty without one."""
        waiting = [queue.index for queue in self._queues if self._closing or queue.stopping]
        return next(filter(None, map(self._model.stuck, waiting)), "")

    def join(self, seconds: float) -> bool:
        """Wait until the queues that were asked to stop have stopped; True if they have, in time.

        Any thread may wait.
        """
        waiting = [queue.index for queue in self._queues if self._closing or queue.stopping]
        end = time.monotonic() + seconds
        return all(self._model.join(index, max(end - time.monotonic(), 0)) for index in waiting)

    def settle(self) -> None:
        """Complete the stop of each queue that the model has stopped."""
        for queue in self._queues:
            self._complete(queue)

    def take_logs(self, logs: InFlightLogs | None) -> None:
        """Take the logs of a driver, with what the device keeps behind them; None at its end."""
        self.logs = logs
        self._model.take_kept(None if logs is None else logs.kept_state)

    def clear_logs(self) -> None:
        """Clear the log of every queue: the driver has reset the device. No queue is served."""
        for queue in self._queues:
            self._clear_log(queue.index)

    def clear(self) -> None:
        """Return to the state after a reset."""
        self._queues = [MmioQueue(queue.index, queue.size_max) for queue in self._queues]
        self._selector = 0
        self._active = None
        self._live = self._closing = False

    @property
    def _selected(self) -> MmioQueue | None:
        """The queue that QueueSel selects, if there is one."""
        return self._queues[self._selector] if self._selector < len(self._queues) else None

    @property
    def _settled(self) -> MmioQueue | None:
        """The selected queue, with its stop completed if the model has stopped it."""
        queue = self._selected
        if queue is not None:
            self._complete(queue)
        return self._selected

    def _complete(self, queue: MmioQueue) -> None:
        """Complete the stop of a queue, if the model has stopped it."""
        if not queue.stopping or self._closing or not self._model.is_stopped(queue.index):
            return
        self._clear_log(queue.index)
        if queue.resetting:
            self._queues[queue.index] = MmioQueue(queue.index, queue.size_max)  # 2.6.1.1.1
        else:
            queue.ready, queue.stopping = None, False

    def _clear_log(self, index: int) -> None:
        """Clear the log of a queue that is not served, if it has one."""
        if self.logs is not None:
            self.logs.clear(index)

    def _select(self, value: int) -> None:
        """Select a queue. QueueSizeMax reads 0 if it does not exist."""
        self._selector = value

    def _change(self, name: str) -> tuple[MmioQueue, Active]:
        """Return the selected queue for a write. Errors: NoSuchQueue, DriverViolation."""
        queue = self._settled
        if queue is None:
            raise NoSuchQueue(
                f"{name}: queue {self._selector} is selected; the device has {len(self)} queues"
            )
        if self._closing:
            raise DriverViolation(
                f"{name} was written during a reset: wait until Status reads 0 (2.4)"
            )
        if self._active is None:
            raise DriverViolation(f"{name} was written before FEATURES_OK (3.1.1)")
        if queue.stopping:
            raise DriverViolation(
                f"{name}: queue {queue.index} is being stopped: wait until QueueReady reads 0"
                " (4.2.2.2)"
            )
        return queue, self._active

    def _change_idle(self, name: str) -> tuple[MmioQueue, Active]:
        """Return the selected queue for a write that is forbidden while it is ready (4.2.2.2)."""
        queue, active = self._change(name)
        if queue.ready:
            raise DriverViolation(
                f"{name}: queue {queue.index} is in use: write 0 to QueueReady first (4.2.2.2)"
            )
        return queue, active

    def _write_size(self, value: int) -> None:
        """Set the size of a queue: at most QueueSizeMax (4.2.2.2); a power of two if it is split.

        A packed queue may have any size (2.8.10.1). 0 is the size after a reset: drivers write it
        when they give a queue up.
        """
        queue, active = self._change_idle("QueueSize")
        if value > queue.size_max:
            raise DriverViolation(f"QueueSize: {value} is more than {queue.size_max} (4.2.2.2)")
        if value & (value - 1) and Feature.VIRTIO_F_RING_PACKED not in active:
            raise DriverViolation(
                f"QueueSize: {value} is no power of two, as split queues need (2.7)"
            )
        queue.size = value

    def _write_area(self, area: str, shift: int, value: int) -> None:
        """Set one half of the address of an area."""
        queue, _ = self._change_idle(area)
        kept: int = getattr(queue, area) & ~(_LOW << shift)
        setattr(queue, area, kept | value << shift)

    def _write_ready(self, value: int) -> None:
        """Make a queue ready, or stop it."""
        if value > 1:
            raise BadValue(f"QueueReady: {value:#x} is neither 0 nor 1")
        queue = self._settled
        if value == 0 and (queue is None or queue.ready is None or queue.stopping):
            # Drivers write 0 in any state when they stop.
            if queue is not None and self._model.is_stopped(queue.index):
                self._clear_log(queue.index)
            return
        queue, active = self._change("QueueReady")
        if value == 0:
            self._stop(queue)
        elif queue.ready is None:
            ready = self._make_ready(queue, active)
            if self.on_ring and Feature.VIRTIO_F_RING_PACKED not in active:
                self.on_ring(queue, ready, True)  # noqa: FBT003
            if self._live:
                self._start(queue.index, ready)
            queue.ready = ready

    def _write_reset(self, value: int) -> None:
        """Reset a queue (2.6.1, 4.2.2.1)."""
        if value > 1:
            raise BadValue(f"QueueReset: {value:#x} is neither 0 nor 1")
        queue, active = self._change("QueueReset")
        if Feature.VIRTIO_F_RING_RESET not in active:
            raise DriverViolation("QueueReset: VIRTIO_F_RING_RESET was not negotiated (4.2.2)")
        if value == 1:
            queue.resetting = True
            self._stop(queue)

    def _stop(self, queue: MmioQueue) -> None:
        """Begin to stop a queue. QueueReady and QueueReset show when it is complete."""
        if self.on_ring and queue.ready and not self.has(Feature.VIRTIO_F_RING_PACKED):
            self.on_ring(queue, queue.ready, False)  # noqa: FBT003
        queue.stopping = True
        self._model.abandon(queue.index)
        self._complete(queue)

    def _make_ready(self, queue: MmioQueue, active: Active) -> ReadyQueue:
        """Check the registers of a queue. Errors: DriverViolation if it can't work."""
        where = f"QueueReady: queue {queue.index}"
        if queue.size == 0:
            raise DriverViolation(f"{where}: write QueueSize first (4.2.3.2)")
        if active.attachment is None:
            raise DriverViolation(
                f"{where}: no driver is attached, so it has no memory: attach first"
            )
        configure = partial(
            QueueConfig,
            size=queue.size,
            descriptor_area=queue.descriptor_area,
            driver_area=queue.driver_area,
            device_area=queue.device_area,
            event_idx=Feature.VIRTIO_F_EVENT_IDX in active,
            indirect=Feature.VIRTIO_F_INDIRECT_DESC in active,
            packed=Feature.VIRTIO_F_RING_PACKED in active,
        )
        try:
            # Making a queue checks that its areas are in the driver's memory. Its log is not
            # touched before the queue is served.
            DeviceQueue(active.attachment.memory, configure())
        except (DriverViolation, MemoryRefused, RingCorrupt, ValueError) as error:
            raise DriverViolation(f"{where}: {error} (2.6)") from error
        doorbell = active.attachment.doorbells.get(queue.index)
        log_part = None if self.logs is None else self.logs.of(queue.index)
        return ReadyQueue(
            active.attachment.memory,
            configure(log=log_part),
            doorbell.kick if doorbell else None,
            log_part,
        )

    def _start(self, index: int, ready: ReadyQueue) -> None:
        """Have the model serve a queue. It was checked: a failure now is not the driver's fault.

        But for one of its in-flight log, which is checked here.
        """
        resumes, in_flight = ready.log is not None and ready.log.in_use, 0
        if ready.log is not None:
            in_flight = ready.log.in_flight(packed=self.has(Feature.VIRTIO_F_RING_PACKED))
        try:
            self._model.start_queue(index, ready.memory, ready.config, ready.kick)
        except (VirtmeshError, ValueError, OSError) as error:
            log.warning(
                "a queue can't be served: the device needs a reset", queue=index, error=str(error)
            )
            self._model.interrupt.set_fault(f"queue {index} can't be served: {error}")
            return
        if resumes:
            log.info(
                "a queue goes on where its in-flight log says", queue=index, in_flight=in_flight
            )
            # The device before may have ended after it used a buffer and before it told so.
            self._model.interrupt.raise_used(index)
