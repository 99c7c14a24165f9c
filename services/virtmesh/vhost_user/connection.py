"""One vhost-user front end of a device: what each of its messages does.

It drives the same model as a virtio-mmio driver: features, configuration space and rings come in
messages instead of registers. A message that breaks the protocol ends the connection
(FrontEndViolation). A message that the device refuses, such as a write to a read-only field,
changes nothing; if the front end wants an answer, it is told of the failure.

Control messages are rare, so they are handled in Python. The path from a kick to a call is native.

Threats and known gaps:
- The file behind guest memory can become shorter while it is mapped: see FrontEndMemory.
- A front end can fill the image and keep queues busy, like any driver.
- Dirty pages are not logged, so a running guest can't be migrated.
- Addresses are never translated: VIRTIO_F_ACCESS_PLATFORM is not offered.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import structlog

from virtmesh.mmio.device import DeviceState
from virtmesh.vhost_user import messages as vu
from virtmesh.vhost_user.config import read_config, write_config
from virtmesh.vhost_user.framing import find_shape
from virtmesh.vhost_user.inflight import InFlightLogs, make_logs
from virtmesh.vhost_user.memory_slots import MemorySlots
from virtmesh.vhost_user.messages import ProtocolFeature, Request
from virtmesh.vhost_user.notifications import FrontEndNotifier
from virtmesh.vhost_user.vrings import Vrings
from virtmesh.virtio.quirks import missing_feature
from virtmesh_common.api.trace.v1 import trace_pb2
from virtmesh_common.errors import BadDoorbell, DriverViolation, FrontEndViolation, RegisterError
from virtmesh_common.virtio.features import Feature, feature_names
from virtmesh_common.virtio.status import WRITABLE, Status, status_names

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from virtmesh.mmio.quirks import Quirks
    from virtmesh.vhost_user.framing import Message, MessageSocket
    from virtmesh.vhost_user.messages import Payload
    from virtmesh.vhost_user.offer import Offer
    from virtmesh.virtio.device import VirtioDevice

log = structlog.get_logger(__name__)

OFFERED = (
    ProtocolFeature.MQ
    | ProtocolFeature.REPLY_ACK
    | ProtocolFeature.BACKEND_REQ
    | ProtocolFeature.CONFIG
    | ProtocolFeature.INFLIGHT_SHMFD
    | ProtocolFeature.RESET_DEVICE
    | ProtocolFeature.CONFIGURE_MEM_SLOTS
    | ProtocolFeature.STATUS
)
"""Protocol features of every device."""
WITHHELD = Feature.VIRTIO_F_RING_RESET
"""Device features that the protocol has no messages for."""
IN_BAND_NEEDS = ProtocolFeature.BACKEND_REQ | ProtocolFeature.REPLY_ACK
FAILED = vu.U64(1)
"""The answer to a message that was refused."""


class FrontEnd:
    """A front end that holds a device until `close`."""

    def __init__(
        self, model: VirtioDevice, connection: MessageSocket, quirks: Quirks, offer: Offer
    ) -> None:
        self._model = model
        self._quirks = quirks
        self._socket = connection
        self._offered = int(model.device_features) & ~int(WITHHELD)
        self._protocol_offered = OFFERED | (
            ProtocolFeature.INBAND_NOTIFICATIONS if offer.in_band else ProtocolFeature(0)
        )
        self._protocol = ProtocolFeature(0)
        self._features: int | None = None
        self._missing: str | None = Feature.VIRTIO_F_VERSION_1.name
        """A required feature that the front end has not accepted; None once all are accepted."""
        self._status = Status(0)
        self._recorded_status = Status(0)
        """The status that the flight recorder got last."""
        self._rings = Vrings(model)
        self._rings.continuation.renew = self._renew
        self._kept: int | None = None
        """The features that the model has; None after a reset."""
        self._memory = MemorySlots(self._rings, connection.fail, offer.memory_max_bytes)
        self._notifier = FrontEndNotifier(model, self._rings, connection.fail)
        self._handlers: dict[Request, Callable[[Any, Message], Awaitable[Payload | None]]] = {
            request: getattr(self, f"_{request.name.lower()}") for request in vu.SHAPES
        }

    @property
    def state(self) -> DeviceState:
        """The state of the device, as the front end has set it."""
        status = int(self._device_status)
        return DeviceState(
            device_status=status,
            device_status_names=status_names(status),
            driver_features=self._features or 0,
            device_features=self._offered,
            fault=self._model.interrupt.fault or "",
        )

    async def handle(self, message: Message) -> None:
        """Execute a message and answer it. Errors: FrontEndViolation."""
        request, shape = find_shape(message)
        needed = shape.feature
        if needed not in self._protocol:
            raise FrontEndViolation(
                f"{request.name} without {needed.name}, the protocol feature that it needs"
            )
        payload = shape.payload.parse(message.payload)
        try:
            answer = await self._handlers[request](payload, message)
        except RegisterError as error:
            log.info("refused a message", request=request.name, reason=error.message)
            answer = FAILED
        else:
            answer = answer if shape.replies else vu.U64(0)
        wanted = message.needs_reply and ProtocolFeature.REPLY_ACK in self._protocol
        if answer is not None and (shape.replies or wanted):
            self._socket.send(request, vu.REPLY, answer.pack(), [])
        self._notifier.tell_change()
        self._record_status()

    def close(self) -> None:
        """Release everything of the front end. The device must be reset."""
        self._notifier.close()
        self._memory.close()
        self._forget_logs()
        self._rings.close()

    # -- Features and status --------------------------------------------------------------------

    async def _get_features(self, _: vu.Payload, __: Message) -> vu.U64:
        return vu.U64(self._offered | vu.VHOST_USER_F_PROTOCOL_FEATURES)

    async def _set_features(self, payload: vu.U64, _: Message) -> None:
        features = payload.value & ~vu.VHOST_USER_F_PROTOCOL_FEATURES
        unknown = features & ~self._offered
        if unknown:
            names = ", ".join(feature_names(unknown, self._model.family))
            raise FrontEndViolation(f"SET_FEATURES: not offered: {names}")
        if not self._rings.any_running:
            self._agree(features)
        elif features != self._features:
            raise FrontEndViolation("SET_FEATURES: the features change while a ring is started")
        if payload.value == features:
            # Without VHOST_USER_F_PROTOCOL_FEATURES there is no SET_VRING_ENABLE.
            for index in range(len(self._rings)):
                await self._rings.enable(index, on=True)

    def _agree(self, features: int) -> None:
        """Negotiate features, unless a required one is missing.

        crosvm sends its features in pieces: the one of the protocol, then 32 bits at a time.
        A front end that sends them again may have the driver that it had.
        """
        if features == self._kept and self._may_go_on:
            self._features = features
            self._rings.continuation.ask()
            return
        self._model.reset()
        self._model.interrupt.reset()
        self._rings.continuation.forget()
        self._features = self._kept = None
        self._missing = missing_feature(self._model, features, self._quirks)
        if not self._missing:
            self._model.negotiate(features)
            self._features = self._kept = self._rings.features = features

    @property
    def _may_go_on(self) -> bool:
        """The device was used, is suspended now, and not broken."""
        has_left = self._rings.continuation.has_left
        return has_left and not self._rings.any_running and self._model.interrupt.fault is None

    def _renew(self) -> None:
        """Reset the model: rings begin anew, so the driver is another one."""
        self._model.reset()
        self._model.interrupt.reset()
        if self._kept is not None:
            self._model.negotiate(self._kept)

    async def _get_protocol_features(self, _: vu.Payload, __: Message) -> vu.U64:
        return vu.U64(self._protocol_offered)

    async def _set_protocol_features(self, payload: vu.U64, _: Message) -> None:
        unknown = payload.value & ~int(self._protocol_offered)
        if unknown:
            raise FrontEndViolation(f"SET_PROTOCOL_FEATURES: {unknown:#x} are not offered")
        protocol = ProtocolFeature(payload.value)
        in_band = ProtocolFeature.INBAND_NOTIFICATIONS in protocol
        if in_band and IN_BAND_NEEDS not in protocol:
            raise FrontEndViolation(
                "SET_PROTOCOL_FEATURES: INBAND_NOTIFICATIONS needs BACKEND_REQ and REPLY_ACK"
            )
        if self._rings.any_running and protocol != self._protocol:
            raise FrontEndViolation("SET_PROTOCOL_FEATURES: a ring is started")
        self._protocol = protocol
        self._notifier.agree(protocol)

    async def _set_owner(self, _: vu.Payload, __: Message) -> None:
        """Do nothing: the connection is the session."""

    async def _reset_owner(self, _: vu.Payload, __: Message) -> None:
        await self._rings.disable_all()

    async def _reset_device(self, _: vu.Payload, __: Message) -> None:
        await self._rings.reset()
        self._model.reset()
        self._model.interrupt.reset()
        self._features = self._kept = None
        self._status = self._recorded_status = Status(0)  # A reset is recorded as such.

    async def _get_status(self, _: vu.Payload, __: Message) -> vu.U64:
        return vu.U64(self._device_status)

    async def _set_status(self, payload: vu.U64, message: Message) -> None:
        unknown = payload.value & ~int(WRITABLE | Status.DEVICE_NEEDS_RESET)
        if unknown:
            raise FrontEndViolation(
                f"SET_STATUS: {unknown:#x} are no bits that a driver sets (2.1)"
            )
        if payload.value == 0:
            if self._kept is not None and self._may_go_on and not self._rings.any_started:
                # QEMU sends it for a guest that is paused as well.
                self._features, self._status = None, Status(0)
                return
            await self._reset_device(payload, message)
            return
        # Front ends set the bits when they learn of them, so the order is not checked.
        self._status = Status(payload.value & WRITABLE)
        if self._features is None:
            self._status &= ~Status.FEATURES_OK

    @property
    def _driver_status(self) -> Status:
        """The bits that the driver set: as sent, or else derived from what the front end did."""
        if ProtocolFeature.STATUS in self._protocol:
            return self._status
        status = Status.ACKNOWLEDGE | Status.DRIVER
        if self._features is not None:
            status |= Status.FEATURES_OK
        if self._rings.any_started:
            status |= Status.DRIVER_OK
        return status

    @property
    def _device_status(self) -> Status:
        """The device status."""
        broken = self._model.interrupt.fault is not None
        return self._driver_status | (Status.DEVICE_NEEDS_RESET if broken else Status(0))

    def _record_status(self) -> None:
        """Record the status, if it changed."""
        before, self._recorded_status = self._recorded_status, self._driver_status
        if self._recorded_status != before:
            self._model.interrupt.recorder.record(
                trace_pb2.EVENT_KIND_STATUS, value=self._recorded_status, extra=before
            )

    # -- Configuration space --------------------------------------------------------------------

    async def _get_config(self, payload: vu.Config, _: Message) -> vu.Config:
        content = read_config(self._model, payload.offset, len(payload.content))
        return vu.Config(payload.offset, payload.flags, content)

    async def _set_config(self, payload: vu.Config, _: Message) -> None:
        if payload.flags not in vu.CONFIG_FLAGS:
            raise DriverViolation(f"SET_CONFIG: the flags {payload.flags:#x} have no meaning")
        if self._may_go_on:  # A driver that is paused writes nothing: this is another one.
            self._rings.continuation.forget()
            self._renew()
        write_config(self._model, payload.offset, payload.content)

    # -- Memory -----------------------------------------------------------------------------------

    async def _set_mem_table(self, payload: vu.MemoryTable, message: Message) -> None:
        await self._memory.set_table(payload.regions, message.descriptors)

    async def _get_max_mem_slots(self, _: vu.Payload, __: Message) -> vu.U64:
        return vu.U64(vu.SLOTS_MAX)

    async def _add_mem_reg(self, payload: vu.SingleRegion, message: Message) -> None:
        await self._memory.add(payload.region, message.descriptors[0])

    async def _rem_mem_reg(self, payload: vu.SingleRegion, _: Message) -> None:
        await self._memory.remove(payload.region)

    # -- In-flight log ----------------------------------------------------------------------------

    async def _get_inflight_fd(self, payload: vu.Inflight, message: Message) -> None:
        # Before features are negotiated, make room for both ring formats.
        features = self._offered if self._features is None else self._features
        packed = bool(features & Feature.VIRTIO_F_RING_PACKED)
        made, descriptor = make_logs(payload, len(self._rings), packed=packed)
        try:
            self._socket.send(message.request, vu.REPLY, made.pack(), [descriptor])
        finally:
            os.close(descriptor)

    async def _set_inflight_fd(self, payload: vu.Inflight, message: Message) -> None:
        if self._rings.any_running:
            raise FrontEndViolation("SET_INFLIGHT_FD: a ring is started")
        self._forget_logs()
        descriptor, rings = message.descriptors[0], len(self._rings)
        self._rings.logs = InFlightLogs(payload, descriptor, rings, self._socket.fail)

    def _forget_logs(self) -> None:
        """Release the in-flight logs. No ring may be served."""
        if self._rings.logs is not None:
            self._rings.logs.close()
            self._rings.logs = None

    # -- Rings -------------------------------------------------------------------------------------

    async def _get_queue_num(self, _: vu.Payload, __: Message) -> vu.U64:
        return vu.U64(len(self._rings))

    async def _set_vring_num(self, payload: vu.VringState, _: Message) -> None:
        self._rings.set_size(payload.index, payload.num)

    async def _set_vring_addr(self, payload: vu.VringAddress, _: Message) -> None:
        self._rings.set_areas(payload)

    async def _set_vring_base(self, payload: vu.VringState, _: Message) -> None:
        self._rings.set_base(payload.index, payload.num)

    async def _get_vring_base(self, payload: vu.VringState, _: Message) -> vu.VringState:
        return vu.VringState(payload.index, await self._rings.stop(payload.index))

    async def _set_vring_kick(self, payload: vu.U64, message: Message) -> None:
        index = self._ring_of(payload, message)
        self._rings.check_doorbell(index, message.descriptor, "kick")
        self._check_startable()
        polled = not message.descriptors
        await self._rings.start(index, message.take_descriptor(), polled=polled)

    async def _vring_kick(self, payload: vu.VringState, _: Message) -> None:
        ring = self._rings[payload.index]
        if not ring.started:
            self._check_startable()
            await self._rings.start(payload.index, None)
        self._rings.kick(payload.index)

    async def _set_vring_call(self, payload: vu.U64, message: Message) -> None:
        index = self._ring_of(payload, message)
        self._notifier.end_in_band_call(index)
        self._set_call(index, message.descriptor)

    async def _set_vring_err(self, payload: vu.U64, message: Message) -> None:
        index = self._ring_of(payload, message)
        self._rings.check_doorbell(index, message.descriptor, "error descriptor")
        self._rings.set_error(index, message.take_descriptor())

    async def _set_vring_enable(self, payload: vu.VringState, _: Message) -> None:
        if payload.num > 1:
            raise FrontEndViolation(f"SET_VRING_ENABLE: {payload.num} is neither 0 nor 1")
        if payload.num and self._rings[payload.index].started:
            self._check_startable()
        await self._rings.enable(payload.index, on=bool(payload.num))

    def _ring_of(self, payload: vu.U64, message: Message) -> int:
        """Return the index of the ring that a message with an optional descriptor is about."""
        index, without = payload.value & 0xFF, bool(payload.value & vu.INVALID_FD)
        name = Request(message.request).name
        if payload.value >> 9:
            raise FrontEndViolation(f"{name}: {payload.value:#x} has bits without a meaning")
        if without == bool(message.descriptors):
            came = "came with" if message.descriptors else "lacks"
            raise FrontEndViolation(f"{name} {came} a descriptor, but its payload says otherwise")
        return self._rings[index].index

    def _check_startable(self) -> None:
        """Check that features are negotiated, so that rings may be started."""
        if self._features is None:
            legacy = self._missing == Feature.VIRTIO_F_VERSION_1.name
            mend = ": a legacy driver? QEMU's device needs disable-legacy=on" if legacy else ""
            raise FrontEndViolation(
                f"a ring is started before SET_FEATURES with {self._missing}{mend}"
            )

    def _set_call(self, index: int, descriptor: int | None) -> None:
        """Set the call descriptor of a ring."""
        try:
            if descriptor is not None:
                os.set_blocking(descriptor, False)
            self._model.interrupt.set_call(index, descriptor)
        except (BadDoorbell, OSError) as error:
            raise FrontEndViolation(f"ring {index}: {error}") from error

    async def _set_backend_req_fd(self, _: vu.Payload, message: Message) -> None:
        self._notifier.set_channel(message.descriptors.pop())
