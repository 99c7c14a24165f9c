"""A device in this process and a driver that breaks rules, with its rings written by hand."""

from __future__ import annotations

import asyncio
import inspect
import struct
from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING

from virtmesh_native import Recorder

from virtmesh.attach.client import AttachmentEventfds
from virtmesh.attach.guest_ram import Ram
from virtmesh.host.report import make_report
from virtmesh.mmio.device import Attachment
from virtmesh.report.observer import CLAUSE
from virtmesh.testing.scripted_driver import LocalRegisters, ScriptedDriver
from virtmesh.virtio.mmio_device import VirtioMmio
from virtmesh.virtio.queue_device import QueueDevice
from virtmesh_common.errors import RegisterError
from virtmesh_common.registers import Access, Register
from virtmesh_common.time_limit import time_limit
from virtmesh_common.virtio import mmio
from virtmesh_common.virtio.features import TRANSPORT_FEATURES, Feature

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from virtmesh.mmio.device import Device
    from virtmesh.mmio.quirks import Quirk
    from virtmesh.virtio.device import VirtioDevice
    from virtmesh.virtio.queue_device import Chain

PLAIN = int(Feature.VIRTIO_F_VERSION_1)
RESET = PLAIN | Feature.VIRTIO_F_RING_RESET
PACKED = PLAIN | Feature.VIRTIO_F_RING_PACKED
INDIRECT_FEATURE = PLAIN | Feature.VIRTIO_F_INDIRECT_DESC
SIZE = 4
"""Entries of a queue."""
NEXT, WRITE, INDIRECT = 1, 2, 4
"""Flags of a descriptor (2.7.5)."""
AVAIL, USED = 1 << 7, 1 << 15
"""Flags of an available descriptor of a packed ring in its first lap, and its second (2.8.1)."""
OUTSIDE = 1 << 50
DESCRIPTOR = struct.Struct("<QIHH")
PATIENCE_S = 20.0


class Holder(QueueDevice):
    """A device that keeps every chain, and whose reset can be made to wait."""

    kind = "holder"
    device_id = 4
    config = (Register("field", mmio.MMIO_CONFIG, Access.RW, "-", "A field"),)
    stuck_reset = False

    def __init__(self) -> None:
        super().__init__("holder", (SIZE, SIZE), TRANSPORT_FEATURES)

    def take(self, chain: Chain) -> None:
        """Keep a chain."""

    def missing_feature(self, features: int) -> str:
        """Say that EVENT_IDX needs INDIRECT_DESC here."""
        needs = features & Feature.VIRTIO_F_EVENT_IDX
        return "INDIRECT" if needs and not features & Feature.VIRTIO_F_INDIRECT_DESC else ""

    def write_config(self, field: Register, value: int) -> None:
        """Take any value."""

    def is_stopped(self, index: int) -> bool:
        """Say whether a queue is stopped: not while a reset is to wait."""
        return not self.stuck_reset and super().is_stopped(index)


class RuleRig:
    """One virtio device, and a driver of it that does what a test wants."""

    def __init__(self, device: VirtioMmio, ram: Ram, doorbells: AttachmentEventfds) -> None:
        self.device = device
        self.driver = ScriptedDriver(LocalRegisters(device), ram, doorbells)
        self.memory = ram.guest_memory
        self.ram = ram
        self.areas = (0, 0, 0)
        self.clauses: list[str] = []
        """The clauses that refusals named."""
        self._next = 0

    # -- Registers --------------------------------------------------------------------------------

    def get(self, register: Register) -> int:
        """Read a register."""
        return self.device.read(register.offset, register.widths[0])

    def put(self, register: Register, value: int) -> None:
        """Write a register, which may be refused."""
        self.access(register.offset, register.size, value)

    def access(self, offset: int, width: int = 4, value: int | None = None) -> None:
        """Access an offset, which may be refused."""
        try:
            if value is None:
                self.device.read(offset, width)
            else:
                self.device.write(offset, width, value)
        except RegisterError as error:
            self.clauses += CLAUSE.findall(error.message)

    def probe(self) -> None:
        """Read what a driver reads first."""
        for register in (mmio.MAGIC_VALUE, mmio.VERSION, mmio.DEVICE_ID):
            self.get(register)

    async def negotiate(self, features: int = PLAIN) -> None:
        """Go to FEATURES_OK as a driver should."""
        self.probe()
        await self.driver.reset()
        await self.driver.offered()
        await self.driver.negotiate(features)

    async def place(self, features: int = PLAIN, size: int = SIZE, queue: int = 0) -> None:
        """Negotiate, and set a queue up but for QueueReady."""
        await self.negotiate(features)
        self.areas = await self.driver.place_queue(queue, size)

    async def bring_up(self, features: int = PLAIN, queue: int = 0, size: int = SIZE) -> None:
        """Bring the device up with one queue, whose rings are empty."""
        await self.place(features, size, queue)
        self.put(mmio.QUEUE_READY, 1)
        await self.driver.go()

    # -- Rings ------------------------------------------------------------------------------------

    def buffer(self, content: bytes = bytes(64)) -> int:
        """Allocate a buffer with content; return its address."""
        address = self.ram.pages.allocate(len(content))
        self.memory.write(address, content)
        return address

    def descriptor(  # noqa: PLR0913, PLR0917 - the fields of one
        self, index: int, address: int, length: int, flags: int = 0, next_: int = 0, table: int = 0
    ) -> None:
        """Write a descriptor, of the queue or of a table."""
        place = (table or self.areas[0]) + DESCRIPTOR.size * index
        self.memory.write(place, DESCRIPTOR.pack(address, length, flags, next_))

    def offer(self, *heads: int, idx: int | None = None, queue: int = 0, size: int = SIZE) -> None:
        """Make chains available and notify the device; `idx` to write another index."""
        area = self.areas[1]
        for head in heads:
            self.memory.write(area + 4 + 2 * (self._next % size), struct.pack("<H", head))
            self._next += 1
        self.memory.write(area + 2, struct.pack("<H", self._next if idx is None else idx))
        self.put(mmio.QUEUE_NOTIFY, queue)

    def begin_queue(self) -> None:
        """Go on with another queue, whose rings are empty."""
        self._next = 0

    def packed(self, index: int, address: int, length: int, id_: int, flags: int) -> None:
        """Write a descriptor of a packed ring."""
        place = self.areas[0] + DESCRIPTOR.size * index
        self.memory.write(place, DESCRIPTOR.pack(address, length, id_, flags))

    # -- The report -------------------------------------------------------------------------------

    @property
    def broken(self) -> list[str]:
        """The names of the rules that were broken."""
        return broken(self.device)

    async def settle(self) -> list[str]:
        """Wait for a violation, which a thread of the device may find; return the rules broken."""
        async with time_limit(PATIENCE_S):
            while not (found := broken(self.device)):  # noqa: ASYNC110 - no event tells of one
                await asyncio.sleep(0)
        return found


Break = Callable[[RuleRig], object]
"""Breaks a rule; may be a coroutine function."""


def broken(device: Device) -> list[str]:
    """Return the names of the rules that the driver of a device broke."""
    return [one.rule for one in make_report(device, "test").violations]


class Breaks(dict[str, Break]):
    """What breaks each rule, by its name: `@breaks(NAME)` enters it."""

    def __call__(self, rule: str) -> Callable[[Break], Break]:
        """Enter what breaks a rule."""

        def enter(function: Break) -> Break:
            self[rule] = function
            return function

        return enter

    async def run(self, rule: str, rig: RuleRig) -> list[str]:
        """Break a rule; return the names of the rules that were broken."""
        done = self[rule](rig)
        if inspect.isawaitable(done):
            await done
        return rig.broken


@contextmanager
def rule_rig(
    model: VirtioDevice, *, memory: int = 1 << 20, quirks: Collection[Quirk] = ()
) -> Iterator[RuleRig]:
    """Attach a driver to a device model. Its memory is sparse."""
    device = VirtioMmio(model, quirks)
    device.interrupt.recorder = Recorder(256)
    doorbells = AttachmentEventfds.make(len(model.queue_size_max))
    with Ram(memory) as ram:
        device.attach(Attachment("test", ram.guest_memory, doorbells.queues))
        yield RuleRig(device, ram, doorbells)
        device.begin_reset()
        device.detach()
    doorbells.close()
