"""A serial port in memory: for what stands on a tty, without a driver and a device."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from virtmesh_common.errors import VirtmeshError


class MemoryTty:
    """A port whose far end is the test: `type` sends to it, `until` waits for what it sends.

    While `open_for_output` is cleared, its transmit queue is full.
    """

    def __init__(self, name: str = "serial") -> None:
        self.name = name
        self.kernel_queue = True
        self.on_break: Callable[[], object] = lambda: None
        self.overruns_seen = 0
        self.sent = bytearray()
        """What it has sent."""
        self.open_for_output = asyncio.Event()
        self.open_for_output.set()
        self._typed = bytearray()
        self._error: VirtmeshError | None = None
        self._news = asyncio.Condition()

    @property
    def unread(self) -> int:
        """Bytes that nobody has read."""
        return len(self._typed)

    async def type(self, data: bytes | str) -> None:
        """Send to it."""
        async with self._news:
            self._typed += data.encode() if isinstance(data, str) else data
            self._news.notify_all()

    async def until(self, text: str) -> str:
        """Wait until it has sent a text; return everything up to its end, and forget that."""
        wanted = text.encode()
        async with self._news:
            await self._news.wait_for(lambda: wanted in self.sent)
            end = self.sent.index(wanted) + len(wanted)
            seen = self.sent[:end].decode()
            del self.sent[:end]
            return seen

    async def until_read(self) -> None:
        """Wait until everything that was sent to it is read."""
        async with self._news:
            await self._news.wait_for(lambda: not self._typed)

    async def lose(self, error: VirtmeshError) -> None:
        """Fail every read and write from now on."""
        async with self._news:
            self._error = error
            self._news.notify_all()

    async def read(self, limit: int = 1 << 16) -> bytes:
        """Return what was typed; wait for it."""
        async with self._news:
            await self._news.wait_for(lambda: self._typed or self._error)
            self._check()
            data = bytes(self._typed[:limit])
            del self._typed[:limit]
            self._news.notify_all()
            return data

    async def write(self, data: bytes) -> None:
        """Take output."""
        await self.open_for_output.wait()
        async with self._news:
            self._check()
            self.sent += data
            self._news.notify_all()

    def set_kernel_queue(self, *, on: bool) -> None:
        """Note whether the queue is to be used."""
        self.kernel_queue = on

    def _check(self) -> None:
        """Raise what it was lost with."""
        if self._error is not None:
            raise self._error.again()
