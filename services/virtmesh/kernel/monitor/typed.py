"""What is typed at a tty: read by one task at a time, or held while a command runs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from virtmesh.kernel.tty import Tty

HELD_MAX = 64 << 10
"""Input held while a command runs, in bytes. The rest waits in the driver and on the line."""
READ_MAX = 64 << 10
"""Most bytes of one read."""
CANCEL = 0x03
"""^C (ETX)."""


class Typed:
    """The input of a session. Errors of all methods: VirtmeshError when the tty is lost."""

    def __init__(self, tty: Tty) -> None:
        self._tty = tty
        self._held = bytearray()
        self._reading: asyncio.Task[bytes] | None = None

    async def read(self) -> bytes:
        """Return what was typed; wait for it. Cancelled, it loses nothing."""
        if not self._held:
            return await self._next()
        held, self._held = bytes(self._held), bytearray()
        return held

    def give_back(self, data: bytes) -> None:
        """Let the next read begin with what this one did not use."""
        self._held[:0] = data

    async def cancelled(self) -> None:
        """Hold what is typed until it is ^C: then drop it, and return."""
        start = 0
        while True:
            at = self._held.find(CANCEL, start)
            if at >= 0:
                del self._held[: at + 1]
                return
            start = len(self._held)
            if start >= HELD_MAX:
                await asyncio.get_running_loop().create_future()  # whoever waits for this ends it
            self._held += await self._next()

    async def close(self) -> None:
        """Stop reading."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    async def _next(self) -> bytes:
        """Return what comes from the tty next."""
        if self._reading is None:
            self._reading = asyncio.create_task(self._tty.read(READ_MAX), name="monitor input")
        data = await asyncio.shield(self._reading)
        self._reading = None
        return data
