"""A VNC server in the test's process, for a machine at an address."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import virtmesh_client
from virtmesh_client.vnc import VncOptions, VncServer
from virtmesh_common.time_limit import time_limit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SECONDS = 30.0


@dataclass
class VncRig:
    """The server, and what it told."""

    address: tuple[str, int] = ("", 0)
    lines: list[str] = field(default_factory=list)
    told: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, line: str) -> None:
        """Take a line."""
        self.lines.append(line)
        self.told.set()

    async def until_told(self, words: str) -> str:
        """Wait for a line with these words; return it."""
        async with time_limit(SECONDS):
            while True:
                for line in self.lines:
                    if words in line:
                        return line
                self.told.clear()
                await self.told.wait()


@asynccontextmanager
async def vnc_rig(
    address: str,
    *,
    screen: str = "gpu0",
    viewers: int = 8,
    host: str = "127.0.0.1",
    **options: Any,
) -> AsyncIterator[VncRig]:
    """Serve viewers for a while, on a port of loopback."""
    rig = VncRig()
    async with await virtmesh_client.aconnect(address) as machine:
        server = VncServer(machine, screen, VncOptions(tell=rig.tell, **options), viewers)
        await server.listen(host, 0)
        rig.address = server.address
        work = asyncio.create_task(server.run())
        try:
            yield rig
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            await server.close()
