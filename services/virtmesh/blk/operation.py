"""One operation on a disk, such as a write of 1 MiB: the requests of it that the device has."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from virtmesh_common.errors import VirtmeshError


class Operation:
    """Counts requests that are in flight, and keeps the first error.

    The driver calls `begun` and `ended` for each request. The caller begins its requests, then
    waits for `finished`.
    """

    def __init__(self) -> None:
        self.error: VirtmeshError | None = None
        """The first error. After it no more requests should begin."""
        self.wanted = True
        """False once the caller is gone: its memory must not be written any more."""
        self._in_flight = 0
        self._idle: asyncio.Future[None] | None = None

    def begun(self) -> None:
        """Count a request that the device has now."""
        self._in_flight += 1

    def ended(self, error: VirtmeshError | None = None) -> None:
        """Note the end of a request, and wake the caller after the last one."""
        self.error = self.error or error
        self._in_flight -= 1
        if self._in_flight == 0 and self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    async def finished(self) -> None:
        """Wait until the device has none of the requests. Errors: the first of a request."""
        if self._in_flight:
            self._idle = asyncio.get_running_loop().create_future()
            await self._idle
        if self.error is not None:
            raise self.error
