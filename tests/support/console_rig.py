"""The monitor of a kernel without devices, on a tty in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from virtmesh.drivers.settings import Settings
from virtmesh.kernel.kernel import Kernel
from virtmesh.kernel.monitor.session import PROMPT, Session
from virtmesh.kernel.tree import make_blob
from virtmesh.machine import Machine
from virtmesh.testing.memory_tty import MemoryTty


class ConsoleRig:
    """Someone at the console of a machine without devices."""

    def __init__(self) -> None:
        self.kernel = Kernel(make_blob(Machine(name="test")), Settings(), "a test")
        self.tty = MemoryTty()
        self.session = Session(self.kernel, self.tty, self.kernel.boot_log.reader())

    async def ask(self, line: str) -> str:
        """Enter a line; return what is shown up to the next prompt."""
        await self.tty.type(f"{line}\r")
        await self.tty.until(f"{line}\r\n")
        return (await self.tty.until(PROMPT)).removesuffix(PROMPT)


@asynccontextmanager
async def sitting() -> AsyncIterator[ConsoleRig]:
    """Run a session, up to its first prompt."""
    desk = ConsoleRig()
    running = asyncio.create_task(desk.session.run())
    try:
        await desk.tty.until(PROMPT)
        yield desk
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
