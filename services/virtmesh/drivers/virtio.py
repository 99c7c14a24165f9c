"""What every virtio driver does the same way: negotiation, queues, interrupts."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar

import structlog

from virtmesh.drivers.base import Driver
from virtmesh.drivers.interrupt_mode import InterruptMode
from virtmesh.virtio.mmio_driver import VirtIOHeader
from virtmesh_common.errors import DriverError, RingCorrupt, VirtmeshError
from virtmesh_common.time_limit import time_limit
from virtmesh_common.virtio.features import TRANSPORT_FEATURES, Feature, feature_names
from virtmesh_common.virtio.mmio import INTERRUPT_CONFIG_CHANGE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from enum import IntFlag
    from typing import Self

    from virtmesh.attach.bus import Bus
    from virtmesh.drivers.settings import Settings
    from virtmesh.virtio.queue import VirtQueue

log = structlog.get_logger(__name__)

LOOK_S = 1.0
"""Between two looks for used chains of which no interrupt told, while the device has chains."""
GRACE_S = 0.1
"""How long an interrupt may be under way."""
GIVE_UP_S = 1.0
"""Longest wait for a device that is told that its driver has given up: it may be hanging."""


class VirtIODriver(Driver):
    """A driver of one virtio device."""

    family: ClassVar[type[IntFlag]]
    """Feature bits of that kind of device."""
    wanted: ClassVar[int] = 0
    """Features of the kind that it uses where they are offered."""
    poll_pause_s: ClassVar[float] = 0.0
    """Pause between two looks at the queues in polling mode; 0 lets other tasks run, no more."""

    def __init__(
        self,
        bus: Bus,
        interrupts: InterruptMode = InterruptMode.INTERRUPT,
        *,
        refused: int = 0,
    ) -> None:
        super().__init__(bus)
        self.header = VirtIOHeader(bus)
        self.refused = refused
        """Features that it does without, though they are offered."""
        self.polling = interrupts is InterruptMode.POLLING
        self.queues: list[VirtQueue] = []
        self.lost_interrupts = 0
        """Times that used chains were found of which no interrupt told."""
        self._handled = 0
        """Interrupts that were handled."""
        self._added = asyncio.Event()
        self._news = asyncio.Event()
        self._causes = 0

    @classmethod
    def from_node(
        cls,
        bus: Bus,
        properties: Mapping[str, int],  # noqa: ARG003 - the seam is given
        settings: Settings,
    ) -> Self:
        """Make the driver of a virtio-mmio node, which has no properties for it."""
        return cls(bus, settings.interrupts, refused=settings.refused)

    @property
    def features(self) -> list[str]:
        """Names of the negotiated features, ascending by bit."""
        return feature_names(self.header.features, self.family)

    @property
    def queue_count(self) -> int:
        """Queues in use."""
        return len(self.queues)

    @property
    def in_flight(self) -> int:
        """Chains that the device has."""
        return sum(queue.in_flight for queue in self.queues)

    async def start(self) -> None:
        """Initialise the device (3.1.1).

        Errors: DriverError classes, after setting FAILED; DeviceLost.
        """
        try:
            await self.header.negotiate(
                (self.wanted | TRANSPORT_FEATURES) & ~self.refused,
                Feature.VIRTIO_F_VERSION_1,
                self.family,
            )
            await self.set_up()
            self._spawn(self._serve_causes, "interrupt work")
            if self.polling:
                for queue in self.queues:
                    queue.disable_interrupts()
                self._spawn(self._poll, "polling")
            else:
                for queue in self.queues:
                    queue.enable_interrupts()
                self._spawn(self._look, "looking for lost interrupts")
            await self.header.go_live()
            await self.ready()
        except MemoryError as error:
            await self._give_up()
            raise DriverError(str(error)) from error
        except BaseException:
            await self._give_up()
            raise

    @abstractmethod
    async def set_up(self) -> None:
        """Read the configuration and set the queues up (3.1.1, step 7)."""

    async def ready(self) -> None:
        """Do what needs a live device, before anyone else uses it."""

    @abstractmethod
    def completed(self, queue: VirtQueue, token: int, written: int) -> None:
        """Complete a chain that the device has used. Errors: RingCorrupt."""

    def popped(self, queue: VirtQueue) -> None:
        """Do what is to be done once for all chains that were completed together.

        Errors: RingCorrupt.
        """

    async def config_changed(self) -> None:
        """Read the configuration again."""

    def notify(self, queue: VirtQueue) -> None:
        """Ring a queue to which chains were added."""
        queue.notify()
        self._added.set()

    def handle_irq(self, status: int) -> bool:
        """Handle an interrupt: complete used chains; have the rest done by a task."""
        if self.failed.done():
            return False
        self._handled += 1
        config = status & INTERRUPT_CONFIG_CHANGE
        # With a line for each cause the causes need no telling apart, so used buffers need no
        # acknowledgement: it would cost every interrupt a round trip (as MSI-X does not read ISR).
        self._causes |= config if self.bus.vectored else status
        if self._causes:
            self._news.set()
        return self._pop_all() > 0 or bool(config)

    async def close(self) -> None:
        """Stop, and let go of the queues."""
        await super().close()
        self.queues.clear()  # a ring keeps guest memory mapped

    def _pop_all(self) -> int:
        """Complete every used chain of every queue; return how many there were."""
        completed = 0
        try:
            for queue in self.queues:
                completed += self._pop(queue)
        except RingCorrupt as error:
            self.fail(error)
        self.requests += completed
        return completed

    def _pop(self, queue: VirtQueue) -> int:
        """Complete the used chains of a queue."""
        completed = 0
        while True:
            used = queue.pop_used()
            for token, written in used:
                self.completed(queue, token, written)
            if used:
                self.popped(queue)
            completed += len(used)
            # Asking for the next interrupt and looking again, in this order, loses none.
            if not used and (self.polling or not queue.enable_interrupts()):
                return completed

    async def _poll(self) -> None:
        """Look for used chains while the device has any, letting other tasks run in between."""
        while await self._added.wait():
            self._added.clear()
            while self.in_flight and not self.failed.done():
                self._pop_all()
                await asyncio.sleep(self.poll_pause_s)

    async def _look(self) -> None:
        """Complete, while the device has any chains, what it has used without an interrupt."""
        while await self._added.wait():
            self._added.clear()
            while self.in_flight and not self.failed.done():
                await asyncio.sleep(LOOK_S)
                if self._has_used() and not await self._interrupted():
                    self._complete_untold()

    def _has_used(self) -> bool:
        """Say whether the device has used chains that were not completed."""
        return any(queue.can_pop() for queue in self.queues)

    async def _interrupted(self) -> bool:
        """Wait for an interrupt that is under way; say whether one came."""
        handled = self._handled
        await asyncio.sleep(GRACE_S)
        # After a time in which the loop stood still, timers go before what has arrived meanwhile.
        for _ in range(2):
            await asyncio.sleep(0)
        return self._handled != handled

    def _complete_untold(self) -> None:
        """Do what the interrupt would have had done that was lost."""
        if self.failed.done() or not self._pop_all():
            return
        if not self.lost_interrupts:
            log.warning(
                "the device has used buffers without an interrupt: it is looked at each second",
                device=self.name,
            )
        self.lost_interrupts += 1

    async def _serve_causes(self) -> None:
        """Acknowledge interrupts, and look at changes of the configuration."""
        while await self._news.wait():
            self._news.clear()
            causes, self._causes = self._causes, 0
            # First acknowledge, then read: a change in between raises the line again.
            await self.header.acknowledge(causes)
            if causes & INTERRUPT_CONFIG_CHANGE:
                await self.header.check()
                await self.config_changed()

    async def _give_up(self) -> None:
        """Tell the device, and everyone who waits, that initialisation has failed."""
        try:
            with suppress(VirtmeshError, TimeoutError):
                async with time_limit(GIVE_UP_S):
                    await self.header.give_up()
        finally:
            await self.close()
