"""A disk in a bytearray: for what stands on disks, without drivers and devices."""

from __future__ import annotations

import asyncio
import random

from virtmesh.blk.block_device import BlockDevice
from virtmesh_common.blk.errors import BlockIOError


class MemoryDisk(BlockDevice):
    """A disk of `blocks` blocks that lets other tasks run inside every request.

    A request goes through `gate`, if there is one; one that touches `bad_blocks` fails.
    """

    def __init__(
        self, blocks: int = 64, block_size: int = 512, request_size_max: int = 2048
    ) -> None:
        super().__init__()
        self.name = "mem"
        self.serial = "memory"
        self.write_back = False
        self.read_only = False
        self.block_size = block_size
        self.capacity = blocks * block_size
        self.request_size_max = request_size_max
        self.discard_size_max = 4 * block_size
        self.write_zeroes_size_max = 4 * block_size
        self.data = bytearray(random.Random(1).randbytes(self.capacity))  # noqa: S311 - a pattern
        self.log: list[tuple[str, int, int]] = []
        """Every request: its kind, first block, and number of blocks."""
        self.running = 0
        """Requests being carried out."""
        self.peak = 0
        """Most of them at once."""
        self.begun = asyncio.Event()
        """Set by the first request."""
        self.gate: asyncio.Event | None = None
        self.bad_blocks: set[int] = set()

    @property
    def features(self) -> list[str]:
        """Have none."""
        return []

    @property
    def queue_count(self) -> int:
        """Have none."""
        return 0

    async def read_block(self, block_id: int, buf: memoryview | bytearray) -> None:
        """Read blocks."""
        start = await self._request("read", block_id, len(buf))
        buf[:] = self.data[start : start + len(buf)]

    async def write_block(self, block_id: int, buf: memoryview | bytes | bytearray) -> None:
        """Write blocks."""
        start = await self._request("write", block_id, len(buf))
        self.data[start : start + len(buf)] = buf

    async def discard_block(self, block_id: int, count: int) -> None:
        """Discard blocks."""
        await self._request("discard", block_id, count * self.block_size)

    async def zero_block(self, block_id: int, count: int, *, unmap: bool) -> None:
        """Zero blocks."""
        length = count * self.block_size
        start = await self._request("unmap" if unmap else "zero", block_id, length)
        self.data[start : start + length] = bytes(length)

    async def flush(self) -> None:
        """Do nothing."""

    def handle_irq(self, status: int) -> bool:
        """Have none."""
        return bool(status)

    async def _request(self, kind: str, block_id: int, length: int) -> int:
        """Go through a request; return the offset of its first byte."""
        self.log.append((kind, block_id, length // self.block_size))
        self.running += 1
        self.begun.set()
        self.peak = max(self.peak, self.running)
        try:
            await (self.gate.wait() if self.gate else asyncio.sleep(0))
            if self.bad_blocks & set(range(block_id, block_id + length // self.block_size)):
                raise BlockIOError("a bad block")
        finally:
            self.running -= 1
        return block_id * self.block_size
