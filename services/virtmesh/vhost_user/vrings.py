"""The rings of a vhost-user device, from their description to their service ("Ring states").

A ring is served while it is started, enabled, and its memory is there. Serving is the model's: on
threads of its own, or on the event loop. A ring that stops first finishes what it took, so that
nobody touches guest memory afterwards, and nothing is lost or done twice.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from virtmesh_native import QueueConfig

from virtmesh.attach.server import check_eventfd
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

Place = tuple["GuestMemory", int, int, int]
"""Memory of a ring, and the guest addresses of descriptor area, driver area and device area."""

DESCRIPTOR_SIZE = 16
"""Bytes of a packed descriptor, of which the last has the flag USED (2.8.13)."""
USED = 1 << 7
"""VIRTQ_DESC_F_USED in that byte (2.8.1)."""
POLL_SECONDS = 0.001
"""How often a ring without a kick descriptor is looked at."""


@dataclass
class Ring:
    """One ring: as described, and its state. Addresses are user addresses."""

    index: int
    size: int = 0
    areas: VringAddress | None = None
    base: int | None = None
    """Where it goes on, as messages have it; None: where the driver begins."""
    kick: int | None = None
    error: int | None = None
    polled: bool = False
    """There is nothing to hear of buffers by."""
    started: bool = False
    enabled: bool = False
    served: bool = False
    taken_from: bool = False
    """It was served since it was started: where it goes on is in `base`, and not in a log."""

    @property
    def running(self) -> bool:
        """It is started and enabled, so that it can't be described anew."""
        return self.started and self.enabled


class Rings:
    """The rings of one front end, on the queues of a model. Errors: FrontEndViolation."""

    def __init__(self, model: VirtioDevice) -> None:
        self._model = model
        self._rings = [Ring(index) for index in range(len(model.queue_size_max))]
        self._poll: asyncio.TimerHandle | None = None
        self.memory: GuestRegions | None = None
        self.logs: InFlightLogs | None = None
        self.features = 0

    def __len__(self) -> int:
        return len(self._rings)

    def __getitem__(self, index: int) -> Ring:
        if index >= len(self._rings):
            raise FrontEndViolation(f"ring {index}: the device has {len(self._rings)}")
        return self._rings[index]

    @property
    def any_started(self) -> bool:
        """Whether a ring is started: the device is not suspended."""
        return any(ring.started for ring in self._rings)

    @property
    def any_running(self) -> bool:
        """Whether a ring is started and enabled: what they all hang on can't change.

        Some front ends (Cloud Hypervisor) only disable rings when the guest resets the device, and
        then set them up anew.
        """
        return any(ring.running for ring in self._rings)

    # -- Description ----------------------------------------------------------------------------

    def set_size(self, index: int, size: int) -> None:
        """Take the size of a ring, in entries."""
        ring = self[index]
        if not 0 < size <= SIZE_MAX:
            raise FrontEndViolation(f"ring {index}: {size} entries are not from 1 to {SIZE_MAX}")
        if ring.running and size != ring.size:
            raise FrontEndViolation(f"ring {index} is started: its size can't change")
        ring.size = size

    def set_areas(self, areas: VringAddress) -> None:
        """Take the addresses of a ring."""
        ring = self[areas.index]
        if areas.flags:
            raise FrontEndViolation(f"ring {ring.index}: dirty pages are not logged")
        if ring.running and areas != ring.areas:
            raise FrontEndViolation(f"ring {ring.index} is started: it can't move")
        ring.areas = areas

    def set_base(self, index: int, base: int) -> None:
        """Take the place where a ring goes on."""
        ring = self[index]
        if ring.running:
            raise FrontEndViolation(f"ring {index} is started: its base can't change")
        self._forget_log(ring)
        ring.base = base

    def set_error(self, index: int, descriptor: int | None) -> None:
        """Take the eventfd that is signalled when a ring breaks; it is this object's then."""
        ring = self[index]
        close_quietly(ring.error)
        ring.error = descriptor

    def check_doorbell(self, index: int, descriptor: int | None, name: str) -> None:
        """Check a descriptor that should be an eventfd, and make it one that never waits."""
        if descriptor is not None:
            os.set_blocking(descriptor, False)
            try:
                check_eventfd(descriptor, f"{name} of ring {index}")
            except BadDoorbell as error:
                raise FrontEndViolation(error.message) from error

    # -- States ---------------------------------------------------------------------------------

    async def start(self, index: int, kick: int | None, *, polled: bool = False) -> None:
        """Start a ring, or give it another kick eventfd, which is this object's then."""
        ring = self[index]
        before, ring.kick, ring.polled = ring.kick, kick, polled
        try:
            await self._halt(ring)
        finally:
            close_quietly(before)
        ring.started = True
        if self._place(ring) is None:
            raise FrontEndViolation(
                f"ring {index} is started before its size, its addresses, or memory there"
            )
        self._serve(ring)

    async def stop(self, index: int) -> int:
        """Stop a ring; returns where it can go on."""
        ring = self[index]
        await self._halt(ring)
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
            await self._halt(ring)

    async def disable_all(self) -> None:
        """Disable every ring."""
        await asyncio.gather(*(self.enable(ring.index, on=False) for ring in self._rings))

    async def reset(self) -> None:
        """Stop and disable every ring, which then begins anew."""
        await self.disable_all()
        for ring in self._rings:
            await self.stop(ring.index)
            ring.base = None

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Serve no ring for the time being: memory changes."""
        await asyncio.gather(*(self._halt(ring) for ring in self._rings))
        yield
        for ring in self._rings:
            self._serve(ring)

    def kick(self, index: int) -> None:
        """Look at a ring now, if it is served."""
        if self[index].served:
            self._model.kick(index)

    def signal_errors(self) -> None:
        """Tell the front end that a ring broke."""
        for ring in self._rings:
            if ring.error is not None:
                with suppress(OSError):
                    os.eventfd_write(ring.error, 1)

    def without_error_descriptor(self) -> list[int]:
        """Return the started rings whose front end hears of errors another way."""
        return [ring.index for ring in self._rings if ring.started and ring.error is None]

    def close(self) -> None:
        """Close every descriptor; the rings are stopped by then."""
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
        """Whether the rings are packed."""
        return bool(self.features & Feature.VIRTIO_F_RING_PACKED)

    def _log(self, ring: Ring) -> InFlightLog | None:
        """Return the in-flight log of a ring, if there is one: in use, it counts before `base`."""
        return None if self.logs is None else self.logs.of(ring.index, packed=self._packed)

    def _forget_log(self, ring: Ring) -> None:
        """Forget what is in flight, if the ring was served and is no more.

        From then on the base says it all, of this ring or of another in its place.
        """
        log = self._log(ring) if ring.taken_from else None
        if log is not None:
            log.forget()
        ring.taken_from = False

    def _place(self, ring: Ring) -> Place | None:
        """Return where a ring is; None before it is described, or while its memory is missing."""
        if self.memory is None or not ring.size or ring.areas is None:
            return None
        to_guest = self.memory.to_guest
        descriptor_area = to_guest(ring.areas.descriptor)
        driver_area, device_area = to_guest(ring.areas.available), to_guest(ring.areas.used)
        if descriptor_area is None or driver_area is None or device_area is None:
            return None
        return self.memory.guest_memory, descriptor_area, driver_area, device_area

    def _serve(self, ring: Ring) -> None:
        """Have the model serve a ring, if it is time and its memory is there."""
        place = self._place(ring)
        if ring.served or not ring.running or place is None:
            return
        memory, descriptor_area, driver_area, device_area = place
        packed = self._packed
        try:
            config = QueueConfig(
                size=ring.size,
                descriptor_area=descriptor_area,
                driver_area=driver_area,
                device_area=device_area,
                event_idx=bool(self.features & Feature.VIRTIO_F_EVENT_IDX),
                indirect=bool(self.features & Feature.VIRTIO_F_INDIRECT_DESC),
                packed=packed,
                base=None if packed and is_fresh(ring, memory, descriptor_area) else ring.base,
                log=self._log(ring),
            )
            self._model.start_queue(ring.index, memory, config, ring.kick)
        except (DriverViolation, MemoryRefused, RingCorrupt, ValueError) as error:
            raise FrontEndViolation(f"ring {ring.index} can't run: {error}") from error
        ring.served = ring.taken_from = True
        # Whoever served it before may have been killed between using a buffer and saying so.
        self._model.interrupt.raise_used(ring.index)
        if ring.polled and self._poll is None:
            self._poll = asyncio.get_running_loop().call_later(POLL_SECONDS, self._look)

    async def _halt(self, ring: Ring) -> None:
        """Have the model finish what it took from a ring, and let go of it."""
        if not ring.served:
            return
        self._model.request_stop(ring.index)
        if not self._model.is_stopped(ring.index):
            await asyncio.to_thread(self._model.join, ring.index)
        ring.base = self._model.queue_base(ring.index)
        ring.served = False

    def _look(self) -> None:
        """Look at the rings that have no kick eventfd."""
        polled = [ring for ring in self._rings if ring.served and ring.polled]
        for ring in polled:
            self._model.kick(ring.index)
        again = asyncio.get_running_loop().call_later(POLL_SECONDS, self._look) if polled else None
        self._poll = again


def is_fresh(ring: Ring, memory: GuestMemory, descriptor_area: int) -> bool:
    """Say whether a packed ring with base 0 was never used.

    Base 0 means that both wrap counters are 0: the second time around. User-mode Linux also sends
    it for rings that it has just made, whose counters are 1 (virtio 1.4, 2.8.1). Their descriptors
    tell them apart: those of a new ring all lack USED. In a ring that comes to base 0, the chain
    before it was used in a lap whose counter is 1, and no driver takes USED from there in this lap;
    the other descriptors may lack it, since they may have been in the middle of chains.
    """
    if ring.base != 0:
        return False
    descriptors = memory.read(descriptor_area, DESCRIPTOR_SIZE * ring.size)
    return not any(last & USED for last in descriptors[DESCRIPTOR_SIZE - 1 :: DESCRIPTOR_SIZE])
