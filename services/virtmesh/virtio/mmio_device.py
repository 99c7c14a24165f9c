"""The device side of virtio over MMIO, version 2 (virtio 1.4, 4.2): from registers to a model.

The register table and the order of initialisation are in virtmesh_common.virtio (mmio, status), the
registers of queues in mmio_queues. Beginning a reset does not wait: Status shows its old value
until the model has stopped every queue, then 0. Whoever answers the write waits for that, for a
bounded time (`reset_done`).
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import structlog

from virtmesh.mmio.device import RESET_SECONDS, Description, DeviceCounters, DeviceState
from virtmesh.mmio.quirks import Quirk, Quirks
from virtmesh.virtio.device import SharedMemory
from virtmesh.virtio.mmio_queues import Active, MmioQueues
from virtmesh.virtio.mmio_watch import MmioWatch
from virtmesh.virtio.quirks import SINGLE_STATUS_BITS, is_wide, missing_feature, vendor_id
from virtmesh_common.api.trace.v1 import trace_pb2
from virtmesh_common.errors import BadDoorbell, DriverViolation
from virtmesh_common.virtio import mmio
from virtmesh_common.virtio.features import FEATURE_WORDS, feature_names
from virtmesh_common.virtio.status import Status, check_transition, spell, status_names

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from virtmesh_native import Interrupt

    from virtmesh.mmio.device import Attachment
    from virtmesh.mmio.register_file import RegisterFile
    from virtmesh.virtio.device import VirtioDevice
    from virtmesh_common.registers import Register

log = structlog.get_logger(__name__)

_WORD = 0xFFFF_FFFF
_NO_REGION = SharedMemory(base=mmio.SHM_NONE, length=mmio.SHM_NONE)


class VirtioMmio:
    """A virtio device behind its register window. Implements virtmesh.mmio.device.Device."""

    def __init__(self, model: VirtioDevice, quirks: Collection[Quirk] = ()) -> None:
        self._model = model
        self.quirks = Quirks(quirks, model.interrupt)
        self._queues = MmioQueues(model)
        self._attachment: Attachment | None = None
        self._change_due = False
        self._state_elsewhere: Callable[[], DeviceState] | None = None
        self._active: Active | None = None
        self._status = Status(0)
        self._resetting = False
        self._joining: asyncio.Future[bool] | None = None
        """A thread that waits for queues to stop."""
        self._stuck_told = False
        """The log names the request that this reset waits for."""
        self._offered = self._features_to_offer()
        self._accepted = 0
        self._device_features_sel = 0
        self._driver_features_sel = 0
        self._shm_sel = 0
        self._resets = 0
        self._notifications = 0
        self.features_refused = 0
        """Times that FEATURES_OK was refused."""
        self._watch = MmioWatch(
            model,
            self._queues,
            lambda: (self._offered_now(), self._read_status()),
            self._readers() | self._queues.readers(),
            self._writers() | self._queues.writers(),
        )
        self.observer = self._watch.observer
        self._registers = self._watch.register_file()

    def _readers(self) -> dict[Register, Callable[[], int]]:
        """Return the reader of each register, except those of queues."""
        model = self._model
        return {
            mmio.DEVICE_ID: lambda: model.device_id,
            mmio.VENDOR_ID: lambda: vendor_id(self.quirks),
            mmio.DEVICE_FEATURES: lambda: self._offered_now() >> 32 * self._device_features_sel,
            mmio.INTERRUPT_STATUS: lambda: model.interrupt.status,
            mmio.STATUS: self._read_status,
            mmio.SHM_LEN_LOW: lambda: self._region.length,
            mmio.SHM_LEN_HIGH: lambda: self._region.length >> 32,
            mmio.SHM_BASE_LOW: lambda: self._region.base,
            mmio.SHM_BASE_HIGH: lambda: self._region.base >> 32,
            mmio.CONFIG_GENERATION: lambda: model.config_generation,
        } | {field: partial(model.read_config, field) for field in model.config}

    def _writers(self) -> dict[Register, Callable[[int], None]]:
        """Return the writer of each register, except those of queues."""
        writers: dict[Register, Callable[[int], None]] = {
            mmio.DEVICE_FEATURES_SEL: partial(setattr, self, "_device_features_sel"),
            mmio.DRIVER_FEATURES_SEL: partial(setattr, self, "_driver_features_sel"),
            mmio.DRIVER_FEATURES: self._write_driver_features,
            mmio.QUEUE_NOTIFY: self._write_queue_notify,
            mmio.INTERRUPT_ACK: self._write_interrupt_ack,
            mmio.STATUS: self._write_status,
            mmio.SHM_SEL: partial(setattr, self, "_shm_sel"),
        }
        return writers | {field: partial(self._write_config, field) for field in self._model.config}

    # -- virtmesh.mmio.device.Device ---------------------------------------------------------------

    @property
    def description(self) -> Description:
        """Names, numbers and sizes of the device."""
        return Description(
            name=self._model.name,
            kind=self._model.kind,
            compatible=mmio.COMPATIBLE,
            mmio_size_bytes=mmio.MMIO_SIZE,
            virtio_device_id=self._model.device_id,
            queue_size_max=tuple(self._model.queue_size_max),
            kept_state_bytes=self._model.kept_state_bytes,
            registers=tuple(self._model.config),
            family=self._model.family,
            identity=self._model.identity,
        )

    @property
    def interrupt(self) -> Interrupt:
        """The interrupt line."""
        return self._model.interrupt

    @property
    def model(self) -> VirtioDevice:
        """The model behind the window. Another transport drives it while it holds the device."""
        return self._model

    @property
    def register_files(self) -> Sequence[RegisterFile]:
        """The one register file of the window."""
        return (self._registers,)

    def set_state_source(self, state: Callable[[], DeviceState] | None) -> None:
        """Set who reports the state while another transport drives the model; None: this object."""
        self._state_elsewhere = state

    @property
    def state(self) -> DeviceState:
        """The state now."""
        if self._state_elsewhere is not None:
            return replace(self._state_elsewhere(), executing=self._model.longest())
        status = self._read_status()
        return DeviceState(
            device_status=status,
            device_status_names=status_names(status),
            driver_features=self._active.features if self._active else 0,
            device_features=self._offered_now(),
            fault=self.interrupt.fault or "",
            executing=self._model.longest(),
        )

    @property
    def counters(self) -> DeviceCounters:
        """The counters now."""
        return DeviceCounters(
            notifications_eventfd=self._model.notifications,
            notifications_mmio=self._notifications,
            requests=self._model.requests,
            resets=self._resets,
        )

    def read(self, offset: int, width: int) -> int:
        """Read a register."""
        if is_wide(offset, width, self.quirks):
            low, high = (
                self._registers.read(at, width // 2) for at in (offset, offset + width // 2)
            )
            return high << 4 * width | low
        return self._registers.read(offset, width)

    def write(self, offset: int, width: int, value: int) -> None:
        """Write a register."""
        self._settle()
        self._registers.write(offset, width, value)

    def notify(self, queue: int) -> None:
        """Notify a queue. Errors: NoSuchQueue; DriverViolation before DRIVER_OK."""
        self._watch.notify(queue)

    def attach(self, attachment: Attachment) -> None:
        """Take a driver's memory and eventfds. The device must be reset. Errors: BadDoorbell."""
        beyond = [queue for queue in attachment.doorbells if queue >= len(self._queues)]
        if beyond:
            count = len(self._queues)
            raise BadDoorbell(f"an eventfd is for queue {beyond[0]}; the device has {count} queues")
        try:
            for queue, doorbell in attachment.doorbells.items():
                self.interrupt.set_call(queue, doorbell.call)
            self.interrupt.set_config_call(attachment.config_call)
        except BadDoorbell:
            self._clear_calls()
            raise
        self._attachment = attachment
        self._change_due = attachment.config_changed
        self._queues.take_logs(attachment.inflight_logs)
        self.observer.begin()

    def begin_reset(self) -> None:
        """Begin a reset: no more chains are popped, and those that were not begun are dropped."""
        self._resets += 1
        if not self._resetting:
            self._resetting = True
            self._watch.reset()
            self._queues.abandon()
        self._settle()

    @property
    def settling(self) -> bool:
        """True while a reset, or the stop of a queue, has begun and is not complete."""
        return self._resetting or self._queues.stopping

    @property
    def stuck(self) -> str:
        """The request that a reset waits for, in words."""
        return self._queues.stuck

    async def reset_done(self, seconds: float = RESET_SECONDS) -> bool:
        """Wait until the device is not `settling`, at most that long. Returns whether it is not.

        The log names the request that is waited for in vain, once for each reset.
        """
        end = (loop := asyncio.get_running_loop()).time() + seconds
        while self.settling:
            left = end - loop.time()
            if left <= 0:
                self._tell_stuck()
                return False
            # One thread waits for all callers, and never for longer than one of them would.
            if self._joining is None or self._joining.done():
                self._joining = loop.run_in_executor(None, self._queues.join, RESET_SECONDS)
            await asyncio.wait([self._joining], timeout=left)
            self._settle()
        return True

    def _tell_stuck(self) -> None:
        """Log which request a reset waits for."""
        if not self._stuck_told:
            self._stuck_told = True
            what = "a reset waits for a request that is stuck in the storage"
            log.warning(what, device=self._model.name, request=self.stuck)

    def detach(self) -> None:
        """Drop the driver's memory and eventfds. The device must be reset."""
        self._clear_calls()
        self._attachment = None
        self._queues.take_logs(None)

    def close(self) -> None:
        """Release everything. The device must be reset and detached."""
        self._model.close()

    # -- Status, features and resets ----------------------------------------------------------

    def _read_status(self) -> int:
        """Return the device status. A reset is completed first, if every queue has stopped."""
        self._settle()
        needs_reset = Status.DEVICE_NEEDS_RESET if self.interrupt.fault is not None else Status(0)
        return self._status | needs_reset

    def _write_status(self, value: int) -> None:
        """Set status bits (2.1, 3.1.1), or reset the device if the value is 0."""
        if value == 0:
            self.begin_reset()
            return
        self._refuse_while_resetting("Status")
        current = Status(self._read_status())
        if (
            value
            and current & ~value
            and self.quirks.allow(
                SINGLE_STATUS_BITS,
                f"{spell(value)} was written to Status, which was {spell(current)}",
            )
        ):
            value |= current
        target = check_transition(current, value)
        gained = target & ~self._status
        if self._status == 0:
            self._offered = self._features_to_offer()
        if gained & Status.FEATURES_OK and not self._negotiate():
            target &= ~Status.FEATURES_OK
        self.interrupt.recorder.record(
            trace_pb2.EVENT_KIND_STATUS, value=target, extra=self._status
        )
        self._status = target
        if gained & Status.DRIVER_OK:
            self._queues.go_live()
            if self._change_due:
                self._change_due = False
                self.interrupt.raise_config()

    def _offered_now(self) -> int:
        """Return the offered features. They do not change between two resets."""
        return self._offered if self._status else self._features_to_offer()

    def _features_to_offer(self) -> int:
        """Return the features of the model as an int: ~ of an IntFlag loses unnamed bits."""
        return int(self._model.device_features)

    def _negotiate(self) -> bool:
        """Return True if the accepted features are valid; else FEATURES_OK reads as 0 (2.2.2)."""
        unknown = self._accepted & ~self._offered
        missing = missing_feature(self._model, self._accepted, self.quirks)
        if unknown or missing:
            self.features_refused += 1
            log.warning(
                "features refused",
                not_offered=feature_names(unknown, self._model.family),
                missing=missing,
            )
            return False
        self._active = Active(self._accepted, self._attachment)
        self._queues.activate(self._active)
        self._model.negotiate(self._accepted)
        return True

    def _write_driver_features(self, value: int) -> None:
        """Set 32 of the features that the driver accepts."""
        self._refuse_while_resetting("DriverFeatures")
        if self._status != Status.ACKNOWLEDGE | Status.DRIVER:
            raise DriverViolation(
                "DriverFeatures: features are accepted between DRIVER and FEATURES_OK (3.1.1);"
                f" Status is {spell(self._status) if self._status else 0}"
            )
        shift = 32 * self._driver_features_sel
        if self._driver_features_sel >= FEATURE_WORDS:
            if value:
                raise DriverViolation(
                    f"DriverFeatures: no features are at DriverFeaturesSel"
                    f" {self._driver_features_sel} (2.2)"
                )
            return
        self._accepted = self._accepted & ~(_WORD << shift) | value << shift

    def _settle(self) -> None:
        """Complete what was begun and has stopped: stops of queues, a reset (2.4.1)."""
        self._queues.settle()
        if not self._resetting or not self._queues.stopped:
            self._stuck_told = self._stuck_told and self.settling
            return
        self._queues.clear_logs()
        self._queues.clear()
        self._model.reset()
        self.interrupt.reset()
        self._active = None
        self._accepted = 0
        self._device_features_sel = self._driver_features_sel = self._shm_sel = 0
        self._status = Status(0)
        self._resetting = self._stuck_told = False

    def _refuse_while_resetting(self, name: str) -> None:
        """Refuse a write during a reset. Errors: DriverViolation."""
        if self._resetting:
            raise DriverViolation(
                f"{name} was written during a reset: wait until Status reads 0 (2.4)"
            )

    # -- The other registers ------------------------------------------------------------------

    def _write_queue_notify(self, value: int) -> None:
        """Notify a queue: without VIRTIO_F_NOTIFICATION_DATA the value is its index (4.2.3.3)."""
        self._queues.kick(value, trace_pb2.NOTIFY_WAY_MMIO)
        self._notifications += 1

    def _write_interrupt_ack(self, value: int) -> None:
        """Clear pending events. Drivers must not set undefined bits (4.2.2.2)."""
        undefined = value & ~mmio.INTERRUPT_BITS
        if undefined:
            raise DriverViolation(f"InterruptACK: the bits {undefined:#x} are no events (4.2.2.2)")
        self.interrupt.acknowledge(value)

    def _write_config(self, field: Register, value: int) -> None:
        """Write the configuration space; not before FEATURES_OK (3.1.1)."""
        self._refuse_while_resetting(field.name)
        if self._active is None:
            raise DriverViolation(f"{field.name}: can't be written before FEATURES_OK (3.1.1)")
        self._model.write_config(field, value)

    @property
    def _region(self) -> SharedMemory:
        """The shared memory region that SHMSel selects (2.10)."""
        return self._model.shared_memory.get(self._shm_sel, _NO_REGION)

    def _clear_calls(self) -> None:
        """Remove every call eventfd of the driver."""
        for queue in range(len(self._queues)):
            self.interrupt.set_call(queue, None)
        self.interrupt.set_config_call(None)
