"""The messages that change a front end's memory: a whole table, or one region at a time.

A change maps all regions again. Every ring pauses meanwhile, so no ring accesses memory that is
being replaced.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from virtmesh.attach.memory_limit import GUEST_MEMORY_MAX, check_size, warn_of
from virtmesh.vhost_user.memory import GuestRegions
from virtmesh_common.errors import FrontEndViolation, MemoryRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from virtmesh.vhost_user.messages import MemoryRegion
    from virtmesh.vhost_user.vrings import Vrings


class MemorySlots:
    """The memory of one front end, which its rings use: at most `memory_max_bytes`.

    `failed` gets the error that ends it. Messages keep their descriptors. Errors of the changes:
    FrontEndViolation.
    """

    def __init__(
        self,
        rings: Vrings,
        failed: Callable[[FrontEndViolation], None],
        memory_max_bytes: int = GUEST_MEMORY_MAX,
    ) -> None:
        self._rings = rings
        self._failed = failed
        self._memory_max_bytes = memory_max_bytes

    async def set_table(self, regions: Sequence[MemoryRegion], descriptors: Sequence[int]) -> None:
        """Replace all regions (SET_MEM_TABLE): one descriptor for each, in the same order."""
        if len(descriptors) != len(regions):
            raise FrontEndViolation(
                f"SET_MEM_TABLE: {len(descriptors)} descriptors came for {len(regions)} regions"
            )
        if len(set(regions)) != len(regions):
            raise FrontEndViolation("SET_MEM_TABLE: the same region twice")
        self._check(sum(region.size for region in regions))
        files = dict(zip(regions, descriptors, strict=True))
        await self._change(lambda _: GuestRegions(files))

    async def add(self, region: MemoryRegion, descriptor: int) -> None:
        """Add a region (ADD_MEM_REG)."""
        now = self._rings.memory
        self._check(region.size + (now.size if now is not None else 0))
        await self._change(
            lambda now: now.add(region, descriptor) if now else GuestRegions({region: descriptor})
        )

    async def remove(self, region: MemoryRegion) -> None:
        """Remove a region (REM_MEM_REG)."""
        if self._rings.memory is None:
            raise FrontEndViolation("REM_MEM_REG: there is no memory region")
        await self._change(lambda now: now.remove(region) if now else None)

    def close(self) -> None:
        """Release the memory. No ring may be served."""
        if self._rings.memory is not None:
            asyncio.get_running_loop().remove_reader(self._rings.memory.lost)
            self._rings.memory.close()
            self._rings.memory = None

    async def _change(self, change: Callable[[GuestRegions | None], GuestRegions | None]) -> None:
        """Replace the regions while no ring is served."""
        async with self._rings.paused():
            changed = change(self._rings.memory)
            self.close()
            self._rings.memory = changed
            if changed is not None:
                warn_of(changed.size)
                asyncio.get_running_loop().add_reader(changed.lost, self._lose)

    def _check(self, size: int) -> None:
        """Check how much memory there would be, in bytes."""
        try:
            check_size(size, self._memory_max_bytes)
        except MemoryRefused as error:
            raise FrontEndViolation(f"its memory can't be used: {error.message}") from error

    def _lose(self) -> None:
        """End the connection of a front end that made its memory shorter."""
        if self._rings.memory is not None:
            asyncio.get_running_loop().remove_reader(self._rings.memory.lost)
        self._failed(FrontEndViolation("a file with guest memory was made shorter"))
