"""What every virtio driver does the same way: initialisation, interrupts, failing, leaving."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar

import structlog

from virtmesh.errors import DeviceLost, DriverError, RingCorrupt, VirtmeshError
from virtmesh.machine import InterruptMode
from virtmesh.virtio.features import Feature, feature_names
from virtmesh.virtio.header import VirtIOHeader
from virtmesh.virtio.mmio_registers import COMPATIBLE, INTERRUPT_CONFIG_CHANGE

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from enum import IntFlag
    from typing import Any

    from virtmesh.bus import Bus
    from virtmesh.virtio.queue import VirtQueue

log = structlog.get_logger(__name__)

GIVE_UP_S = 1.0
"""Longest wait for a device that is told that its driver has given up: it may be hanging."""
TRANSPORT_FEATURES = (
    Feature.VIRTIO_F_VERSION_1
    | Feature.VIRTIO_F_INDIRECT_DESC
    | Feature.VIRTIO_F_EVENT_IDX
    | Feature.VIRTIO_F_RING_RESET
)
"""Features of the transport that every driver uses where they are offered."""


class VirtIODriver(ABC):
    """A driver of one virtio device. `start` makes it ready; `failed` says when it is not any more.

    Runs on the event loop that started it.
    """

    compatible: ClassVar[str] = COMPATIBLE
    """Compatible string of the nodes it drives."""
    device_id: ClassVar[int]
    """Virtio device ID that it drives (virtio 1.4, 5)."""
    family: ClassVar[type[IntFlag]]
    """Feature bits of that kind of device."""
    wanted: ClassVar[int] = 0
    """Features of the kind that it uses where they are offered."""
    poll_pause_s: ClassVar[float] = 0.0
    """Pause between two looks at the queues in polling mode; 0 lets other tasks run, no more."""

    def __init__(self, bus: Bus, interrupts: InterruptMode = InterruptMode.INTERRUPT) -> None:
        self.bus = bus
        self.name = bus.name
        self.header = VirtIOHeader(bus)
        self.polling = interrupts is InterruptMode.POLLING
        self.queues: list[VirtQueue] = []
        self.requests = 0
        """Chains completed."""
        self.failed: asyncio.Future[VirtmeshError] = asyncio.get_running_loop().create_future()
        self._tasks: list[asyncio.Task[None]] = []
        self._added = asyncio.Event()
        self._news = asyncio.Event()
        self._causes = 0
        bus.lost.add_done_callback(self._bus_lost)

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
        """Initialise the device (3.1.1). The bus's interrupts must reach `handle_irq` by then.

        Errors: DriverError classes, after setting FAILED; DeviceLost.
        """
        try:
            await self.header.negotiate(
                self.wanted | TRANSPORT_FEATURES, Feature.VIRTIO_F_VERSION_1, self.family
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

    async def ready(self) -> None:  # noqa: B027 - a hook: nothing is to be done without it
        """Do what needs a live device, before anyone else uses it."""

    @abstractmethod
    def completed(self, queue: VirtQueue, token: int, written: int) -> None:
        """Complete a chain that the device has used. Errors: RingCorrupt."""

    def popped(self, queue: VirtQueue) -> None:  # noqa: B027 - a hook, as `ready`
        """Do what is to be done once for all chains that were completed together.

        Errors: RingCorrupt.
        """

    @abstractmethod
    def abandon(self, error: VirtmeshError) -> None:
        """Fail everyone who waits, or comes: the device is of no use any more."""

    async def config_changed(self) -> None:  # noqa: B027 - a hook, as `ready`
        """Read the configuration again."""

    def notify(self, queue: VirtQueue) -> None:
        """Ring a queue to which chains were added."""
        queue.notify()
        self._added.set()

    def handle_irq(self, status: int) -> bool:
        """Handle an interrupt: complete used chains; have the rest done by a task."""
        if self.failed.done():
            return False
        config = status & INTERRUPT_CONFIG_CHANGE
        # With a line for each cause the causes need no telling apart, so used buffers need no
        # acknowledgement: it would cost every interrupt a round trip (as MSI-X does not read ISR).
        self._causes |= config if self.bus.vectored else status
        if self._causes:
            self._news.set()
        return self._pop_all() > 0 or bool(config)

    def fail(self, error: VirtmeshError) -> None:
        """Stop using the device, once, and let everyone who waits know."""
        if not self.failed.done():
            self.failed.set_result(error)
            self.abandon(error)

    async def close(self) -> None:
        """Stop. The device is given back by closing the bus."""
        self.fail(DeviceLost(f"{self.name} is being given back"))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
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

    def _spawn(self, work: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        """Run a part of the driver; when it breaks, the driver has failed."""

        async def guarded() -> None:
            try:
                await work()
            except VirtmeshError as error:
                self.fail(error)
            except Exception:
                log.exception("a fault of the driver", device=self.name, part=name)
                self.fail(DriverError(f"a fault of the driver of {self.name}: its log says more"))

        self._tasks.append(asyncio.create_task(guarded(), name=f"{self.name} {name}"))

    async def _give_up(self) -> None:
        """Tell the device, and everyone who waits, that initialisation has failed."""
        with suppress(VirtmeshError, TimeoutError):
            async with asyncio.timeout(GIVE_UP_S):
                await self.header.give_up()
        await self.close()

    def _bus_lost(self, lost: asyncio.Future[DeviceLost]) -> None:
        """Fail with the bus."""
        if not lost.cancelled():
            self.fail(lost.result())
