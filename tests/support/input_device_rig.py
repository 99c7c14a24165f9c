"""An input device behind its registers, in this process, and a driver that does as it is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.input_poster import EventPoster
from virtmesh.input.held_keys import InjectorState
from virtmesh.input.injection import Offer
from virtmesh.input.model import InputModel, InputOptions
from virtmesh.input.personality import load
from virtmesh.mmio.device import Attachment
from virtmesh.testing.scripted_driver import LocalRegisters, ScriptedDriver
from virtmesh.virtio.mmio_device import VirtioMmio
from virtmesh_common.evdev import code_of
from virtmesh_common.input import spec as layout
from virtmesh_common.input.spec import EVENT, EVENTQ, STATUSQ
from virtmesh_common.virtio import mmio
from virtmesh_common.virtio.features import Feature

if TYPE_CHECKING:
    from virtmesh.attach.client import AttachmentEventfds
    from virtmesh.attach.guest_ram import Ram
    from virtmesh.input.held_keys import Event
    from virtmesh_common.api.input.v1 import input_pb2 as pb

PLAIN = int(Feature.VIRTIO_F_VERSION_1)
KEY, A = code_of("KEY_A")
LED, CAPS = code_of("LED_CAPSL")
SIZE = 8
"""Entries of each queue."""
SYN: Event = (0, 0, 0)
PRESS: Event = (KEY, A, 1)
RELEASE: Event = (KEY, A, 0)


class NotingPlane(LocalRegisters):
    """Notes where the driver areas are, by queue."""

    def __init__(self, device: VirtioMmio) -> None:
        super().__init__(device)
        self.driver_areas: dict[int, int] = {}
        self._queue = 0

    async def write(self, offset: int, value: int, width: int = 4) -> None:
        """Write at an offset."""
        if offset == mmio.QUEUE_SEL.offset:
            self._queue = value
        elif offset == mmio.QUEUE_DRIVER_LOW.offset:
            self.driver_areas[self._queue] = value
        await super().write(offset, value, width)


class InputDeviceRig:
    """A device of 8 entries and 16 packets, and a driver of it."""

    def __init__(self, ram: Ram, doorbells: AttachmentEventfds, kind: str = "keyboard") -> None:
        options = InputOptions(kind, queue_size=SIZE, waiting=16)
        self.model = InputModel("dev", options, load(kind))
        self.device = VirtioMmio(self.model)
        self.device.attach(
            Attachment("test", ram.guest_memory, doorbells.queues, doorbells.config_call)
        )
        self.plane = NotingPlane(self.device)
        self.driver = ScriptedDriver(self.plane, ram, doorbells)
        self.injector = InjectorState()
        self.reports: list[tuple[int, pb.Outcome.ValueType]] = []
        self.poster: EventPoster

    async def bring_up(self, features: int = PLAIN, post: int = SIZE) -> None:
        """Initialise the device, and post buffers before it is live."""
        driver = self.driver
        await driver.reset()
        await driver.negotiate(features)
        for index in (EVENTQ, STATUSQ):
            await driver.set_up_queue(index, SIZE)
        address = driver.ram.pages.allocate(SIZE * EVENT.size)
        memory = driver.ram.guest_memory
        self.poster = EventPoster(driver.queues[EVENTQ], memory, address, SIZE)
        self.poster.post(post)
        await driver.go()

    async def inject(self, *events: Event, refuse: bool = False) -> None:
        """Inject a packet, SYN_REPORT included, and report its end."""
        offer = Offer(
            self.injector, events, lambda *report: self.reports.append(report), report_end=True
        )
        await self.model.injection.offer(offer, refuse=refuse)

    async def read(self, select: int, subsel: int) -> bytes:
        """Ask for something, by registers."""
        await self.driver.put(layout.SELECT, select)
        await self.driver.put(layout.SUBSEL, subsel)
        size = await self.driver.get(layout.SIZE)
        reads = [self.driver.plane.read(layout.U.offset + place, 1) for place in range(size)]
        return bytes([await one for one in reads])

    async def order(self, *events: Event) -> None:
        """Send events to the device, and ring."""
        ram, queue = self.driver.ram, self.driver.queues[STATUSQ]
        page = ram.pages.allocate(len(events) * EVENT.size)
        for place, event in enumerate(events):
            address = page + place * EVENT.size
            ram.guest_memory.write(address, EVENT.pack(*event))
            queue.add([(address, EVENT.size)], [])
        await self.driver.ring(STATUSQ, by="mmio")
        queue.pop_used()
        ram.pages.release(page)
