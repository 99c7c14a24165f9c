"""A serial port for its user in the kernel, through all lives of the port's process.

Reading and writing go on with the next driver: the drivers of a port share what was received and
not read, and what was written and not sent. Who uses the port sees a pause, and no error, for as
long as PATIENCE_S.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from virtmesh.uart.driver.driver import NS16550a
from virtmesh_common.errors import DeviceLost
from virtmesh_common.retry import RETRY_SECONDS
from virtmesh_common.time_limit import time_limit

if TYPE_CHECKING:
    from collections.abc import Callable

    from virtmesh.kernel.device import MachineDevice
    from virtmesh_common.errors import VirtmeshError

PATIENCE_S = RETRY_SECONDS
"""How long a port may be away."""


class LastingTty:
    """See `virtmesh.kernel.tty.Tty`. It begins with a driver of the port, which is in use.

    `run` follows the port; it ends, and `lost` has the error, when the port is gone for too long,
    or somebody has it reset.
    """

    def __init__(self, device: MachineDevice, driver: NS16550a) -> None:
        self.name = driver.name
        self.driver = driver
        self.lost: asyncio.Future[VirtmeshError] = asyncio.get_running_loop().create_future()
        self.on_break: Callable[[], object] = lambda: None
        self._device = device
        self._overruns_before = 0
        self._changed = asyncio.Event()
        driver.on_break = self._note_break

    async def run(self) -> None:
        """Go from driver to driver."""
        while True:
            error = await asyncio.shield(self.driver.failed)
            orders = self._device.orders
            found = None
            if self.driver.gone:
                with suppress(TimeoutError):
                    async with time_limit(PATIENCE_S):
                        found = await self._device.next_driver(self.driver)
            if not isinstance(found, NS16550a) or self._device.orders != orders:
                self.lost.set_result(error)
                return
            self._overruns_before += self.driver.overruns_seen
            self.driver = found
            found.on_break = self._note_break
            self._changed.set()

    @property
    def kernel_queue(self) -> bool:
        """See the driver's."""
        return self.driver.kernel_queue

    @property
    def overruns_seen(self) -> int:
        """Times that the port said that it had lost something."""
        return self._overruns_before + self.driver.overruns_seen

    async def read(self, limit: int = 1 << 16) -> bytes:
        """Return what has come; wait for the first. Errors: as of the driver, for good."""
        while True:
            driver = self.driver
            try:
                return await driver.read(limit)
            except DeviceLost:
                await self._next(driver)

    async def write(self, data: bytes) -> None:
        """Send bytes; wait for room. Errors: as of the driver, for good."""
        rest = memoryview(data)
        while rest:
            driver = self.driver
            try:
                rest = rest[await driver.put(rest) :]
            except DeviceLost:
                await self._next(driver)

    async def drain(self) -> None:
        """Wait until all that was written has left the port."""
        while True:
            driver = self.driver
            try:
                await driver.drain()
            except DeviceLost:
                await self._next(driver)
            else:
                return

    def set_kernel_queue(self, *, on: bool) -> None:
        """Turn the receive queue on or off."""
        self.driver.set_kernel_queue(on=on)

    def _note_break(self) -> None:
        self.on_break()

    async def _next(self, last: NS16550a) -> None:
        """Wait for another driver. Errors: what the port was lost with, for good."""
        while self.driver is last:
            if self.lost.done():
                raise self.lost.result().again()
            self._changed.clear()
            news = asyncio.ensure_future(self._changed.wait())
            ends: set[asyncio.Future[Any]] = {news, self.lost}
            try:
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            finally:
                news.cancel()
