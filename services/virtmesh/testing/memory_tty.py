"""A serial port in memory, for tests of code that uses a tty. It needs no driver and no device."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from virtmesh_common.errors import VirtmeshError


class MemoryTty:
    """A serial port whose far end is the test.

    `type` sends to the port; `until` waits for output of the port. While `open_for_output` is not
    set, the transmit queue is full and `write` waits.
    """

    def __init__(self, name: str = "serial") -> None:
        self.name = name
        self.kernel_queue = True
        self.on_break: Callable[[], object] = lambda: None
        self.overruns_seen = 0
        self.sent = bytearray()
        """Output of the port that `until` has not consumed."""
        self.open_for_output = asyncio.Event()
        self.open_for_output.set()
        self._typed = bytearray()
        self._error: VirtmeshError | None = None
        self._news = asyncio.Condition()

    @property
    def unread(self) -> int:
        """Number of bytes that were typed and not read."""
        return len(self._typed)

    async def type(self, data: bytes | str) -> None:
        """Send data to the port."""
        async with self._news:
            self._typed += data.encode() if isinstance(data, str) else data
            self._news.notify_all()

    async def until(self, text: str) -> str:
        """Wait for a text in the output; return and consume the output up to the end of it."""
        wanted = text.encode()
        async with self._news:
            await self._news.wait_for(lambda: wanted in self.sent)
            end = self.sent.index(wanted) + len(wanted)
            seen = self.sent[:end].decode()
            del self.sent[:end]
            return seen

    async def until_read(self) -> None:
        """Wait until everything that was typed is read."""
        async with self._news:
            await self._news.wait_for(lambda: not self._typed)

    async def lose(self, error: VirtmeshError) -> None:
        """Make every later read and write fail with an error."""
        async with self._news:
            self._error = error
            self._news.notify_all()

    async def read(self, limit: int = 1 << 16) -> bytes:
        """Return typed bytes, at most `limit`; wait until there are some."""
        async with self._news:
            await self._news.wait_for(lambda: self._typed or self._error)
            self._check()
            data = bytes(self._typed[:limit])
            del self._typed[:limit]
            self._news.notify_all()
            return data

    async def write(self, data: bytes) -> None:
        """Send output; wait while `open_for_output` is not set."""
        await self.open_for_output.wait()
        async with self._news:
            self._check()
            self.sent += data
            self._news.notify_all()

    async def drain(self) -> None:
        """Wait while `open_for_output` is not set: the far end has what was written."""
        await self.open_for_output.wait()
        self._check()

    def set_kernel_queue(self, *, on: bool) -> None:
        """Note whether the queue of the kernel is used."""
        self.kernel_queue = on

    def _check(self) -> None:
        """Raise the error that `lose` set, if any."""
        if self._error is not None:
            raise self._error.again()
