"""A disk service for vhost-user front ends in a process of its own, which can be killed."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

START_SECONDS = 60.0
"""How long a service may take to start or to end."""


class VhostDiskProcess:
    """A disk of 1 MiB in a folder; its image outlives the process."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "vhost.sock"
        self.image = folder / "disk.img"
        self._listen = folder / "device.sock"
        self._process: asyncio.subprocess.Process | None = None
        self.starts = 0
        """How many processes there were."""
        self.log = ""
        """What they logged."""

    async def start(self) -> None:
        """Start it, and wait until it serves."""
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "virtmesh.host.main", "blk", "--name", "vda"),
            *("--listen", f"unix:{self._listen}", "--vhost-user", str(self.path)),
            *("--image", str(self.image), "--size", "1M"),
            stderr=asyncio.subprocess.PIPE,
        )
        self.starts += 1
        async with asyncio.timeout(START_SECONDS):
            await self._wait_for(b"serving")

    async def kill(self) -> None:
        """Kill it with SIGKILL, and wait until it is gone."""
        if self._process is not None:
            self._process.kill()
            await self._finish(self._process)

    async def end(self) -> None:
        """Ask it to end, and wait until it did."""
        if self._process is not None:
            self._process.terminate()
            async with asyncio.timeout(START_SECONDS):
                await self._finish(self._process)

    async def _finish(self, process: asyncio.subprocess.Process) -> None:
        """Wait until it is gone, and take the rest of its log."""
        _, rest = await process.communicate()
        self.log += rest.decode()
        self._process = None

    async def _wait_for(self, word: bytes) -> None:
        """Wait for a line of its log."""
        if self._process is None or self._process.stderr is None:
            return
        async for line in self._process.stderr:
            self.log += line.decode()
            if word in line:
                return
        raise RuntimeError(f"the service ended: {self.log}")
