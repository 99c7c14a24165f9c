"""What a service of the kernel finds: one driver, which a test has made."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from virtmesh.drivers.base import Driver


class FoundDriver:
    """One device in use, whatever its name (virtmesh.kinds.service.FindDriver)."""

    comes_back = False

    def __init__(self, driver: Driver) -> None:
        self.driver: Driver | None = driver
        self.orders = self.resubmitted = 0
        self._driver = driver

    def __call__(self, name: str) -> Driver:
        """Return the driver."""
        del name
        return self._driver

    def device(self, name: str) -> FoundDriver:
        """Return this."""
        del name
        return self

    def ready_driver(self) -> Driver:
        """Return the driver."""
        return self._driver

    async def changed(self) -> None:
        """Wait for ever: it stays as it is."""
        await asyncio.Event().wait()

    async def next_driver(self, last: Driver | None) -> Driver:
        """Return the driver, or wait for ever for another one."""
        if last is self._driver:
            await self.changed()
        return self._driver
