"""The rings of a vhost-user device: how they are described, started and served ("Ring states").

The model serves a ring while it is started, enabled and in guest memory, on threads of its own or
on the event loop. A ring that stops finishes the chains that it took. After that nothing accesses
guest memory, and no request is lost or executed twice.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from virtmesh_native import QueueConfig, RingState

from virtmesh.attach.request import check_kick
from virtmesh.mmio.device import RESET_SECONDS
from virtmesh.vhost_user.continuation import (
    PACKED_BEGINNING,
    SPLIT_BEGINNING,
    Continuation,
    is_fresh,
)
from virtmesh.vhost_user.framing import close_quietly
from virtmesh.vhost_user.messages import SIZE_MAX
from virtmesh_common.errors import (
    BadDoorbell,
    DriverViolation,
    FrontEndViolation,
    MemoryRefused,
    RingCorrupt,
)
from virtmesh_common.virtio.features import Feature

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from virtmesh_native import GuestMemory, InFlightLog

    from virtmesh.vhost_user.inflight import InFlightLogs
    from virtmesh.vhost_user.memory import GuestRegions
    from virtmesh.vhost_user.messages import VringAddress
    from virtmesh.virtio.device import VirtioDevice

log = structlog.get_logger(__name__)

RingAreas = tuple["GuestMemory", int, int, int]
"""Guest memory of a ring, and the guest addresses of its descriptor, driver and device area."""

STOP_SECONDS = 0.05
"""How long a stop waits for all requests, before it leaves them in the log."""
POLL_SECONDS = 0.001
"""Period in which a ring without a kick descriptor is polled."""


@dataclass
class Vring:
    """One ring: its description and its state. Addresses are user addresses."""

    index: int
    size: int = 0
    areas: VringAddress | None = None
    base: int | None = None
    """The vring base from which it continues; None: from the beginning."""
    kick: int | None = None
    error: int | None = None
    polled: bool = False
    """It has no kick descriptor, so it is polled."""
    started: bool = False
    enabled: bool = False
    served: bool = False
    left_at: int | None = None
    """The base at which it was stopped with requests left in the log: those that a stop does not
    wait for. It goes on with them there, and only there: at another base it is another ring."""
    was_served: bool = False
    """It was served after it was started: `base` says where it continues, and not the log."""

    @property
    def running(self) -> bool:
        """True if it is started and enabled: its description can't change then."""
        return self.started and self.enabled


class Vrings:
    """The rings of one front end, on the queues of a model. All methods raise FrontEndViolation."""

    def __init__(self, model: VirtioDevice) -> None:
        self._model = model
        self._rings = [Vring(index) for index in range(len(model.queue_size_max))]
        self._poll: asyncio.TimerHandle | None = None
        self.memory: GuestRegions | None = None
        self.logs: InFlightLogs | None = None
        self.features = 0
        self.continuation = Continuation()

    def __len__(self) -> int:
        return len(self._rings)

    def __getitem__(self, index: int) -> Vring:
        if index >= len(self._rings):
            raise FrontEndViolation(f"ring {index}: the device has {len(self._rings)}")
        return self._rings[index]

    @property
    def any_started(self) -> bool:
        """True if a ring is started: the device is not suspended."""
        return any(ring.started for ring in self._rings)

    @property
    def any_running(self) -> bool:
        """True if a ring is started and enabled: features and logs can't change then.

        Some front ends (Cloud Hypervisor) only disable rings when the guest resets the device, and
        set them up again afterwards.
        """
        return any(ring.running for ring in self._rings)

    # -- Description ----------------------------------------------------------------------------

    def set_size(self, index: int, size: int) -> None:
        """Set the size of a ring, in entries."""
        ring = self[index]
        if not 0 < size <= SIZE_MAX:
            raise FrontEndViolation(f"ring {index}: {size} entries are not from 1 to {SIZE_MAX}")
        if ring.running and size != ring.size:
            raise FrontEndViolation(f"ring {index} is started: its size can't change")
        ring.size = size

    def set_areas(self, areas: VringAddress) -> None:
        """Set the addresses of a ring."""
        ring = self[areas.index]
        if areas.flags:
            raise FrontEndViolation(f"ring {ring.index}: dirty pages are not logged")
        if ring.running and areas != ring.areas:
            raise FrontEndViolation(f"ring {ring.index} is started: it can't move")
        ring.areas = areas

    def set_base(self, index: int, base: int) -> None:
        """Set the vring base from which a ring continues."""
        ring = self[index]
        if ring.running:
            raise FrontEndViolation(f"ring {index} is started: its base can't change")
        if ring.left_at is not None and base != ring.left_at:
            ring.was_served = True  # What is left is of a ring that is no more.
        self._forget_log(ring)
        ring.base, ring.left_at = base, None

    def set_error(self, index: int, descriptor: int | None) -> None:
        """Set the eventfd that is signalled when a ring breaks. This object owns it from now on."""
        ring = self[index]
        close_quietly(ring.error)
        ring.error = descriptor

    def check_doorbell(self, index: int, descriptor: int | None, name: str) -> None:
        """Make a descriptor non-blocking, and check that it is an eventfd, and no semaphore."""
        if descriptor is not None:
            os.set_blocking(descriptor, False)
            try:
                check_kick(descriptor, f"{name} of ring {index}")
            except BadDoorbell as error:
                raise FrontEndViolation(error.message) from error

    # -- States ---------------------------------------------------------------------------------

    async def start(self, index: int, kick: int | None, *, polled: bool = False) -> None:
        """Start a ring, or give it another kick eventfd, which this object owns from now on."""
        ring = self[index]
        before, ring.kick, ring.polled = ring.kick, kick, polled
        try:
            await self._pause(ring)
        finally:
            close_quietly(before)
        if ring.base is None and ring.left_at is not None:
            # It was reset, and begins anew: what is left is of a ring that is no more.
            ring.left_at, ring.was_served = None, True
            self._forget_log(ring)
        ring.started = True
        self.continuation.starts(ring.index)
        if self._find_areas(ring) is None:
            raise FrontEndViolation(
                f"ring {index} is started before its size, its addresses, or memory there: send"
                " SET_VRING_NUM, SET_VRING_ADDR and the memory table first"
            )
        self._serve(ring)

    async def stop(self, index: int) -> int:
        """Stop a ring. Return the vring base from which it can continue.

        A flush under way, and what was not begun, is left in the in-flight log, and is done when
        the ring continues. Without a log it is waited for: a base can't say what is left.
        """
        ring = self[index]
        if await self._leave_in_log(ring):
            await self._pause(ring)
            ring.left_at, ring.was_served = ring.base, False
        await self._pause(ring)
        self._forget_log(ring)
        close_quietly(ring.kick)
        ring.kick, ring.started = None, False
        return ring.base or 0

    async def enable(self, index: int, *, on: bool) -> None:
        """Enable or disable a ring."""
        ring = self[index]
        ring.enabled = on
        if on:
            self._serve(ring)
        else:
            await self._pause(ring)

    async def disable_all(self) -> None:
        """Disable every ring."""
        await asyncio.gather(*(self.enable(ring.index, on=False) for ring in self._rings))

    async def reset(self) -> None:
        """Stop and disable every ring. Each starts from the beginning afterwards.

        Chains that were not begun, and flushes, are dropped.
        """
        for ring in self._rings:
            if ring.served:
                self._model.abandon(ring.index)
        await self.disable_all()
        for ring in self._rings:
            await self.stop(ring.index)
            ring.base = None
        self.continuation.forget()

    @asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """Pause every ring while guest memory changes."""
        await asyncio.gather(*(self._pause(ring) for ring in self._rings))
        yield
        for ring in self._rings:
            self._serve(ring)

    def kick(self, index: int) -> None:
        """Notify the model of a ring, if it is served."""
        if self[index].served and not self._model.interrupt.loses_notification(index):
            self._model.kick(index)

    def signal_errors(self) -> None:
        """Signal the error eventfds: a ring broke."""
        for ring in self._rings:
            if ring.error is not None:
                with suppress(BadDoorbell):  # Its front end has made it blocking meanwhile.
                    self._model.interrupt.signal(ring.error)

    def without_error_descriptor(self) -> list[int]:
        """Return the indexes of started rings that have no error eventfd."""
        return [ring.index for ring in self._rings if ring.started and ring.error is None]

    def close(self) -> None:
        """Close every descriptor. The rings must be stopped."""
        if self._poll is not None:
            self._poll.cancel()
        for ring in self._rings:
            close_quietly(ring.kick)
            close_quietly(ring.error)
            ring.kick = ring.error = None
        if self.memory is not None:
            self.memory.close()
            self.memory = None

    @property
    def _packed(self) -> bool:
        """True if the rings are packed."""
        return bool(self.features & Feature.VIRTIO_F_RING_PACKED)

    def _log(self, ring: Vring) -> InFlightLog | None:
        """Return the in-flight log of a ring, if there is one. A log in use overrides `base`."""
        return None if self.logs is None else self.logs.of(ring.index, packed=self._packed)

    def _forget_log(self, ring: Vring) -> None:
        """Clear the in-flight log of a ring that was served and is not any more.

        From then on its base alone says where it continues.
        """
        log = self._log(ring) if ring.was_served else None
        if log is not None:
            log.forget()
        ring.was_served = False

    def _find_areas(self, ring: Vring) -> RingAreas | None:
        """Return the areas of a ring; None if it is not described, or its memory is missing."""
        if self.memory is None or not ring.size or ring.areas is None:
            return None
        to_guest = self.memory.to_guest
        descriptor_area = to_guest(ring.areas.descriptor)
        driver_area, device_area = to_guest(ring.areas.available), to_guest(ring.areas.used)
        if descriptor_area is None or driver_area is None or device_area is None:
            return None
        return self.memory.guest_memory, descriptor_area, driver_area, device_area

    def _serve(self, ring: Vring) -> None:
        """Have the model serve a ring, if it is started, enabled and in guest memory."""
        areas = self._find_areas(ring)
        if ring.served or not ring.running or areas is None:
            return
        memory, descriptor_area, driver_area, device_area = areas
        try:
            if not any(one.served for one in self._rings):
                self.continuation.decide(self._place, self._beginning)
            state = self._state(ring)
            config = QueueConfig(
                size=ring.size,
                descriptor_area=descriptor_area,
                driver_area=driver_area,
                device_area=device_area,
                event_idx=bool(self.features & Feature.VIRTIO_F_EVENT_IDX),
                indirect=bool(self.features & Feature.VIRTIO_F_INDIRECT_DESC),
                packed=self._packed,
                state=state,
                log=self._log(ring),
            )
            self._model.start_queue(ring.index, memory, config, ring.kick)
        except (DriverViolation, MemoryRefused, RingCorrupt, ValueError) as error:
            raise FrontEndViolation(f"ring {ring.index} can't run: {error}") from error
        ring.served = ring.was_served = True
        self.continuation.goes_on(ring.index)
        # Another back end may have been killed after it used a buffer and before it signalled that.
        self._model.interrupt.raise_used(ring.index)
        if ring.polled and self._poll is None:
            self._poll = asyncio.get_running_loop().call_later(POLL_SECONDS, self._poll_rings)

    def _state(self, ring: Vring) -> RingState | None:
        """Return where a ring goes on; None for one that its driver has just made.

        Errors: DriverViolation for a base that no ring of this size can have.
        """
        if ring.base is None or self._is_fresh(ring):
            return None
        return RingState.from_vring_base(ring.base, packed=self._packed, size=ring.size)

    def _place(self, index: int) -> int:
        """Return the vring base at which a ring starts."""
        ring = self._rings[index]
        if ring.base is None or self._is_fresh(ring):
            return self._beginning
        return ring.base

    @property
    def _beginning(self) -> int:
        """The vring base of a ring that was never used."""
        return PACKED_BEGINNING if self._packed else SPLIT_BEGINNING

    def _is_fresh(self, ring: Vring) -> bool:
        """Return True for a packed ring that was never used, whatever its base 0 says."""
        areas = self._find_areas(ring) if self._packed and ring.base == 0 else None
        return areas is not None and is_fresh(areas[0], areas[1], ring.size)

    async def _pause(self, ring: Vring) -> None:
        """Have the model finish the chains that it took from a ring, and stop serving it."""
        if not ring.served:
            return
        self._model.request_stop(ring.index)
        await self._until_stopped(ring)
        state = self._model.queue_state(ring.index)
        ring.base = None if state is None else state.vring_base
        ring.served = False
        self.continuation.left(ring.index, ring.base)

    async def _leave_in_log(self, ring: Vring) -> bool:
        """Drop what a ring's stop would wait for long, if the log keeps it. True if it does."""
        if not ring.served or self._log(ring) is None:
            return False
        if not self._model.has_held(ring.index):  # a stop would end what is held
            self._model.request_stop(ring.index)
            if await asyncio.to_thread(self._model.join, ring.index, STOP_SECONDS):
                return False
        self._model.abandon(ring.index)
        return True

    async def _until_stopped(self, ring: Vring) -> None:
        """Wait until the model has stopped a ring. The log names the request that it waits for."""
        told = False
        while not self._model.is_stopped(ring.index):
            joined = await asyncio.to_thread(self._model.join, ring.index, RESET_SECONDS)
            if not joined and not told:
                told = True
                log.warning(
                    "a ring waits for a request before it stops",
                    ring=ring.index,
                    request=self._model.stuck(ring.index),
                )

    def _poll_rings(self) -> None:
        """Notify the model of the rings that have no kick eventfd."""
        polled = [ring for ring in self._rings if ring.served and ring.polled]
        for ring in polled:
            self._model.kick(ring.index)
        again = (
            asyncio.get_running_loop().call_later(POLL_SECONDS, self._poll_rings)
            if polled
            else None
        )
        self._poll = again
