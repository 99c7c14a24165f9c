"""A device for as long as the machine has it, whichever process serves it: its link to that.

One stream goes to the process that the device has now. When it ends, and the process has gone, the
driver says what came through; the next process is given the rest.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, Generic, TypeVar

import grpc.aio
import structlog

from virtmesh.drivers.base import Driver
from virtmesh_common.errors import VirtmeshError
from virtmesh_common.time_limit import time_limit

if TYPE_CHECKING:
    from collections.abc import Callable

    from virtmesh.kinds.service import DriverOfDevice

log = structlog.get_logger(__name__)

AnyDriver = TypeVar("AnyDriver", bound=Driver)

ANSWER_S = 10.0
"""How long a process may take for an answer."""
GONE_S = 2.0
"""How long after the end of its stream a process may take to go."""
PAUSE_S = 0.02
"""Pause before the next attempt to reach a process."""


class LastingDevice(ABC, Generic[AnyDriver]):
    """One device of a relay, in all its lives. `channel` returns the channel to its process."""

    def __init__(
        self, name: str, device: DriverOfDevice, channel: Callable[[], grpc.aio.Channel]
    ) -> None:
        self.name = name
        self._device = device
        self._channel = channel
        self._driver: AnyDriver | None = None
        self._came, self._linked, self._away = (asyncio.Event() for _ in range(3))
        self._task = asyncio.create_task(self._run(), name=f"{name} link")

    def came(self, driver: AnyDriver) -> None:
        """Take a driver of the device, which is in use."""
        self._driver = driver
        self._came.set()

    @abstractmethod
    def stop(self) -> None:
        """End the streams of clients: the kernel service stops."""

    async def close(self) -> None:
        """End the stream to the process."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    @property
    def attached(self) -> bool:
        """True while a driver is attached."""
        return self._driver is not None and not self._driver.failed.done()

    async def _lose_patience(self, retry_for: float) -> None:
        """Wait until the device is away for longer than that, in seconds."""
        while True:
            await self._away.wait()
            here = ANSWER_S if self.attached else 0.0  # Its process is there, and about to answer.
            try:
                async with time_limit(max(retry_for, here)):
                    await self._linked.wait()
            except TimeoutError:
                return

    async def _run(self) -> None:
        """Have a stream to each process of the device, for as long as it lives."""
        await self._until_needed()
        while True:
            driver = await self._next_driver()
            try:
                await self._serve()
            except (grpc.aio.AioRpcError, VirtmeshError, TimeoutError) as error:
                log.debug("the stream to a device ended", device=self.name, error=str(error))
            except Exception:
                log.exception("a fault of the relay", device=self.name)
            self._linked.clear()
            if self._is_unconcluded:
                driver = self._driver or driver
                with suppress(TimeoutError):
                    async with time_limit(GONE_S):
                        await self._until_gone(driver)
                self._conclude(driver)
            self._away.set()
            await asyncio.sleep(PAUSE_S)

    async def _next_driver(self) -> AnyDriver:
        """Return the driver of a device that is in use."""
        while self._driver is None or self._driver.failed.done():
            self._came.clear()
            await self._came.wait()
        return self._driver

    async def _until_needed(self) -> None:
        """Wait until somebody wants a stream to the process."""

    @property
    def _is_unconcluded(self) -> bool:
        """Whether it is to be found out what a process did whose stream has ended."""
        return True

    async def _until_gone(self, driver: AnyDriver) -> None:
        """Wait until the process has gone whose stream has ended."""
        await asyncio.shield(driver.failed)

    @abstractmethod
    async def _serve(self) -> None:
        """Have a stream to the process until that ends. Errors: AioRpcError; VirtmeshError."""

    @abstractmethod
    def _conclude(self, driver: AnyDriver) -> None:
        """Find out what a process did; it has gone if its driver has failed."""
