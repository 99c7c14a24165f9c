"""A disk for as long as the machine has it, whatever becomes of the process that serves it.

Who uses a disk holds a `PatientDisk`, which has its driver through all lives of the device. When
the device's process has gone, its driver gives back what was in flight. That begins again with the
next driver, in the same order and before anything new; what waits in vain for longer than its
caller wants ends with DeviceLost.

A request may so be carried out twice. That is sound: when the next driver attaches, the old process
has ended, or has reset the device, which waits for what its storage does; and who changes a range
holds it until the end (see block_device.py), so nobody has changed it in between. What was
completed stays, since a killed process takes nothing away that it has given to its system; and a
flush that begins again covers it, since it covers the whole image. Nobody writes to memory of
callers who are gone: what they had begun to read does not begin again.

What waits is bounded as what is in flight is: it has had its slot, or is an operation of a call
that has had its room.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

import structlog

from virtmesh.blk.block_device import BlockDevice, Operation, Order
from virtmesh.blk.driver import VirtIOBlk
from virtmesh.blk.request import BlkReq
from virtmesh.blk.shape import Shape
from virtmesh.kinds.service import wrong_kind
from virtmesh_common.blk.spec import RequestType
from virtmesh_common.errors import (
    DeviceLost,
    DeviceNotReady,
    DriverError,
    ShuttingDown,
    VirtmeshError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from virtmesh.attach.guest_ram import Ram
    from virtmesh.kinds.service import DriverOfDevice


log = structlog.get_logger(__name__)

STOPS = "the kernel stops"
AGAIN_S = 0.05
"""Pause between two looks of somebody without patience, while others go first."""


class Patience:
    """How long somebody waits for a disk that is away, in seconds, until a request completes."""

    def __init__(self, seconds: float) -> None:
        self._seconds = self._left = seconds
        self._since: float | None = None
        """When the wait began that is under way."""

    def left(self) -> float:
        """Begin to wait, unless that has begun; return the seconds that are left."""
        now = monotonic()
        if self._since is None:
            self._since = now
        return self._left - (now - self._since)

    def rest(self) -> None:
        """Note that the disk is there: the wait is over, and a later one has what is left."""
        if self._since is not None:
            self._left = self.left()
            self._since = None

    def renew(self) -> None:
        """Note that the disk does its work."""
        self._left, self._since = self._seconds, None


class PatientOperation(Operation):
    """An operation whose requests begin again when their device has gone."""

    def __init__(
        self, disk: LastingDisk, driver: VirtIOBlk, patience: Patience, *, bulk: bool
    ) -> None:
        super().__init__(bulk=bulk)
        self.patience = patience
        self.driver = driver
        """The driver of the disk when its caller came: it has what the disk was."""
        self._disk = disk

    def ended(self, error: VirtmeshError | None = None) -> None:
        """Note the end of a request."""
        self.patience.renew()
        super().ended(error and self._disk.told(error))

    def lost(self, request: BlkReq, error: VirtmeshError) -> None:
        """Have a request begun again, if somebody waits for it and has patience."""
        wait = self.wanted and self.error is None and self.patience.left() > 0
        if not (wait and self._disk.take_back(request, self, error)):
            self.ended(error.again())


class PatientDisk(BlockDevice):
    """A disk, for a caller who waits `retry_for` seconds for it when it is away; 0: not at all.

    `driver` is the present one, so that the caller hears when the disk is another one later.
    """

    def __init__(self, disk: LastingDisk, driver: VirtIOBlk, retry_for: float) -> None:
        super().__init__(disk.order)
        self.name = disk.name
        self._disk = disk
        self._driver = driver
        self._retry_for = retry_for

    @property
    def shape(self) -> Shape:
        """What the disk is, or was before it went away."""
        return self._disk.shape

    @property
    def guest_memory(self) -> Ram | None:
        """The guest memory of its driver; None once that has failed."""
        return self._driver.bus.ram if not self._driver.failed.done() else None

    def operation(self, *, bulk: bool) -> PatientOperation:
        """Make the record of an operation."""
        return PatientOperation(self._disk, self._driver, Patience(self._retry_for), bulk=bulk)

    async def begin(self, request: BlkReq, operation: Operation) -> None:
        """Give a request to the device, as soon as it is there and has a slot.

        Errors: DeviceLost; DiskChanged; those of the driver.
        """
        if not isinstance(operation, PatientOperation):
            raise TypeError("this operation is not of a PatientDisk")
        await self._disk.begin(request, operation)

    async def flush(self) -> None:
        """Make every completed write durable. Errors: as `run`."""
        await self._disk.driver(Patience(self._retry_for))
        if self.shape.has_flush:
            await self.run([BlkReq(RequestType.VIRTIO_BLK_T_FLUSH)])


@dataclass(frozen=True)
class _Lost:
    """A request that the device had when it went, and what its driver said."""

    request: BlkReq
    operation: PatientOperation
    error: VirtmeshError
    orders: int
    """Orders that the device had had by then."""


class LastingDisk:
    """What the callers of one disk have in common."""

    def __init__(self, name: str, device: DriverOfDevice) -> None:
        self.name = name
        self.order = Order()
        self._device = device
        self._seen: VirtIOBlk | None = None
        """The last driver."""
        self._lost: deque[_Lost] = deque()
        self._returning: asyncio.Task[None] | None = None
        """Begins again what was lost."""
        self._stopping = asyncio.Event()

    @property
    def shape(self) -> Shape:
        """What the disk is, or was before it went away."""
        return self._seen.shape if self._seen else Shape()

    def stop(self) -> None:
        """Wait for no device any more: the kernel stops."""
        self._stopping.set()
        self._fail_lost(STOPS, error=ShuttingDown)

    def told(self, error: VirtmeshError) -> VirtmeshError:
        """Return what to tell of an error: a loss while the kernel stops is its doing.

        Who waits for a kernel service that starts again then does so with this request, too.
        """
        if isinstance(error, DeviceLost) and self._stopping.is_set():
            return ShuttingDown(f"{error.message}; {STOPS}", **error.metadata)
        return error

    async def driver(self, patience: Patience) -> VirtIOBlk:
        """Wait until the disk is in use. Errors: DeviceNotReady; ShuttingDown; WrongKind."""
        while (driver := self._look()) is None:
            await self._until_changed(max(0.0, patience.left()))
            if patience.left() <= 0 and self._look() is None:
                raise self._away()
        return driver

    async def begin(self, request: BlkReq, operation: PatientOperation) -> None:
        """Give a request to the device, behind all that it had when it was lost.

        Errors: as PatientDisk.
        """
        while True:
            if self._returning is not None:
                await self._behind(self._returning, operation.patience)
            try:
                driver = await self.driver(operation.patience)
            except DeviceNotReady as error:
                raise DeviceLost(error.message, device=self.name) from error
            operation.patience.rest()
            self._check(driver, request, operation)
            try:
                await driver.begin(request, operation)
            except DeviceLost:
                if not driver.gone or operation.patience.left() <= 0:
                    raise
            else:
                return

    def take_back(self, request: BlkReq, operation: PatientOperation, error: VirtmeshError) -> bool:
        """Take a request back that is to begin again. Returns False if it can't."""
        if self._stopping.is_set():
            return False
        self._lost.append(_Lost(request, operation, error, self._device.orders))
        if self._returning is None:
            self._returning = asyncio.create_task(self._return_all(), name=f"{self.name} again")
        return True

    async def _behind(self, returning: asyncio.Task[None], patience: Patience) -> None:
        """Let what was lost go first, for as long as the disk is there, or there is patience."""
        while not returning.done():
            left = patience.left()
            if left <= 0 and self._device.comes_back:
                return
            await asyncio.wait({returning}, timeout=max(left, AGAIN_S))

    def _look(self) -> VirtIOBlk | None:
        """Return the driver, or None while the device is away.

        Who finds it away gets an error when it does not come back by itself.
        Errors: DeviceNotReady; ShuttingDown; WrongKind.
        """
        if self._seen is not None and not self._seen.failed.done():
            return self._seen  # Also while the kernel gives it back: what has begun goes on.
        if self._device.comes_back:
            if self._stopping.is_set():
                raise ShuttingDown(f"{self.name} is not ready: {STOPS}")
            return None
        driver = self._device.ready_driver()
        if not isinstance(driver, VirtIOBlk):
            raise wrong_kind(self.name, driver, "disk")
        if driver is not self._seen:
            driver.share(self.order)
            self._seen = driver
        return driver

    def _away(self) -> DeviceNotReady:
        """Return what to tell those who have waited long enough."""
        try:
            self._device.ready_driver()
        except DeviceNotReady as error:
            return error
        return DeviceNotReady(f"{self.name} is not ready: it was lost", state="WAITING")

    def _check(self, driver: VirtIOBlk, request: BlkReq, operation: PatientOperation) -> None:
        """Refuse a request that does not suit the disk, as it came back. Errors: DiskChanged."""
        if driver is not operation.driver:
            driver.shape.check_same(self.name, operation.driver.shape)
            driver.shape.check_takes(self.name, request)

    async def _return_all(self) -> None:
        """Begin again what was lost, until nothing is left."""
        try:
            while self._lost:
                self._fail_lost("somebody had it reset", self._is_ordered_away)
                try:
                    driver = self._look()
                except VirtmeshError as error:
                    self._fail_lost(error.message)
                    return
                if driver is None:
                    await self._wait()
                else:
                    await self._return_to(driver)
        finally:
            self._returning = None

    def _is_ordered_away(self, one: _Lost) -> bool:
        """Say whether somebody has had the device reset or detached since a request was lost."""
        return one.orders != self._device.orders

    async def _wait(self) -> None:
        """Wait for the device, as long as the least patient; end those without patience."""
        if not self._lost:
            return
        least = min(one.operation.patience.left() for one in self._lost)
        await self._until_changed(max(0.0, least))
        if self._device.comes_back:
            why = self._away().message
            self._fail_lost(why, lambda one: one.operation.patience.left() <= 0)

    async def _until_changed(self, seconds: float) -> None:
        """Wait so long for another state of the device; not once the kernel stops."""
        news = {
            asyncio.ensure_future(self._device.changed()),
            asyncio.ensure_future(self._stopping.wait()),
        }
        try:
            await asyncio.sleep(0)  # They have begun to wait: what came before is seen here.
            if self._device.comes_back:
                await asyncio.wait(news, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in news:
                one.cancel()

    async def _return_to(self, driver: VirtIOBlk) -> None:
        """Begin again what was lost, with a driver, as long as that is there."""
        batch, self._lost = self._lost, deque()
        while batch:
            one = batch[0]
            try:
                await self._begin_again(driver, one)
            except VirtmeshError as error:
                if driver.gone:  # With those that had begun already, which came first.
                    self._lost += batch
                    return
                one.operation.ended(error)
            except Exception:
                log.exception("a fault of the driver", device=self.name)
                fault = f"a fault of the driver of {self.name}: its log says more"
                one.operation.ended(DriverError(fault))
            batch.popleft()

    async def _begin_again(self, driver: VirtIOBlk, one: _Lost) -> None:
        """Begin a request again. Errors: those of what was lost if nobody waits for it any more."""
        if not one.operation.wanted:
            raise one.error.again()
        one.operation.patience.rest()
        self._check(driver, one.request, one.operation)
        await driver.begin(one.request, one.operation)
        self._device.resubmitted += 1

    def _fail_lost(
        self,
        why: str,
        which: Callable[[_Lost], bool] = lambda _: True,
        error: type[VirtmeshError] = DeviceLost,
    ) -> None:
        """End requests that were lost, with what the driver said and why they end."""
        ending = [one for one in self._lost if which(one)]
        self._lost = deque(one for one in self._lost if not which(one))
        for one in ending:
            said = one.error.message
            text = said if why in said else f"{said}; {why}"
            one.operation.ended(error(text, **one.error.metadata))
