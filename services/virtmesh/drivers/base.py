"""What every driver does the same way: starting, interrupts, failing, leaving."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import structlog

from virtmesh_common.errors import DeviceLost, DriverError, VirtmeshError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence
    from typing import Any, Self

    from virtmesh.attach.bus import Bus
    from virtmesh.drivers.settings import Settings

log = structlog.get_logger(__name__)


class Driver(ABC):
    """A driver of one device. `start` makes it ready; `failed` says when it is not any more.

    Runs on the event loop that made it.
    """

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.name = bus.name
        self.requests = 0
        """Requests completed."""
        self.failed: asyncio.Future[VirtmeshError] = asyncio.get_running_loop().create_future()
        self._tasks: list[asyncio.Task[None]] = []
        bus.lost.add_done_callback(self._bus_lost)

    @classmethod
    @abstractmethod
    def from_node(cls, bus: Bus, properties: Mapping[str, int], settings: Settings) -> Self:
        """Make the driver of a device tree node, from its properties of one cell.

        Errors: ValueError for properties that make no sense.
        """

    def keep(self) -> object | None:
        """Return what the next process of a lost device is to have from this one; None: nothing.

        Called once, before `close`.
        """
        return None

    def take_over(self, kept: object) -> None:
        """Take what another driver of this class kept, before `start`."""
        del kept  # The base has no use for it.

    @property
    def features(self) -> list[str]:
        """Names of the features in use."""
        return []

    @property
    def queue_count(self) -> int:
        """Virtqueues in use."""
        return 0

    @property
    def in_flight(self) -> int:
        """Requests that the device has."""
        return 0

    @property
    def facts(self) -> Sequence[str]:
        """What is worth a line in the boot log once it is started, such as its capacity."""
        return ()

    @abstractmethod
    async def start(self) -> None:
        """Initialise the device. The bus's interrupts must reach `handle_irq` by then.

        Errors: DriverError classes; DeviceLost.
        """

    @abstractmethod
    def handle_irq(self, status: int) -> bool:
        """Handle an interrupt: `status` has its causes. False when there was nothing to do."""

    @abstractmethod
    def abandon(self, error: VirtmeshError) -> None:
        """Fail everyone who waits, or comes: the device is of no use any more."""

    def orphan(self, error: VirtmeshError) -> None:
        """Do as `abandon`, for a device whose process has gone by itself: another one may come."""
        self.abandon(error)

    def fail(self, error: VirtmeshError) -> None:
        """Stop using the device, once, and let everyone who waits know."""
        if not self.failed.done():
            # Its trace knows frames of this driver, which would keep the memory that it had.
            self.failed.set_result(error.with_traceback(None))
            self.abandon(error)

    async def close(self) -> None:
        """Stop. The device is given back by closing the bus."""
        self.fail(DeviceLost(f"{self.name} is being given back"))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()  # Their errors know where they were raised: in this driver.

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

    def _bus_lost(self, lost: asyncio.Future[DeviceLost]) -> None:
        """Fail with the bus."""
        if not lost.cancelled() and not self.failed.done():
            self.failed.set_result(lost.result())
            self.orphan(lost.result())
