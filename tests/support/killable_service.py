"""A device service in its own process, which a test can kill and start again."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

START_SECONDS = 60.0
"""How long a service may take to start or to end."""


class KillableService:
    """A service that listens in a folder. `arguments` are those of virtmesh-device."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.address = f"unix:{folder / 'device.sock'}"
        self.arguments = arguments
        self._process: asyncio.subprocess.Process | None = None
        self.starts = 0
        """Number of processes that were started."""
        self.log = ""
        """Log of all processes."""

    async def start(self) -> None:
        """Start a process, and wait until it serves."""
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "virtmesh.host.main", *self.arguments),
            *("--listen", self.address),
            stderr=asyncio.subprocess.PIPE,
        )
        self.starts += 1
        async with asyncio.timeout(START_SECONDS):
            await self._wait_for(b"serving")

    async def kill(self) -> None:
        """Kill the process with SIGKILL, and wait for its end."""
        if self._process is not None:
            self._process.kill()
            await self._finish(self._process)

    async def end(self) -> None:
        """Send SIGTERM to the process, and wait for its end."""
        if self._process is not None:
            self._process.terminate()
            async with asyncio.timeout(START_SECONDS):
                await self._finish(self._process)

    async def _finish(self, process: asyncio.subprocess.Process) -> None:
        """Wait for the end of the process, and read the rest of its log."""
        _, rest = await process.communicate()
        self.log += rest.decode()
        self._process = None

    async def _wait_for(self, word: bytes) -> None:
        """Wait for a line of the log that contains a word."""
        if self._process is None or self._process.stderr is None:
            return
        async for line in self._process.stderr:
            self.log += line.decode()
            if word in line:
                return
        raise RuntimeError(f"the service ended: {self.log}")
