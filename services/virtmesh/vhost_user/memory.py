"""The memory of a vhost-user front end: its regions and their two kinds of addresses.

Messages give the addresses of rings as user addresses, those of the front end's process.
Descriptors have guest addresses ("Memory access").
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from virtmesh_native import FrontEndMemory

from virtmesh.rpc.strangers import close_all
from virtmesh.vhost_user.messages import SLOTS_MAX
from virtmesh_common.errors import FrontEndViolation, MemoryRefused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from virtmesh.vhost_user.messages import MemoryRegion

END = 1 << 64
"""The first number that is not an address."""


class GuestRegions:
    """The mapped regions. It never changes: `add` and `remove` return a new object.

    Files stay open, because a change maps all of them again.
    """

    def __init__(self, files: Mapping[MemoryRegion, int]) -> None:
        """Map the regions. The caller keeps the descriptors. Errors: FrontEndViolation."""
        self._files: dict[MemoryRegion, int] = {}
        try:
            for region, descriptor in files.items():
                self._files[region] = os.dup(descriptor)
            self._check()
            self._memory = FrontEndMemory(
                [
                    (descriptor, region.guest_address, region.size, region.mmap_offset)
                    for region, descriptor in self._files.items()
                ]
            )
        except MemoryRefused as error:
            self.close()
            raise FrontEndViolation(f"its memory can't be used: {error.message}") from error
        except BaseException:
            self.close()
            raise
        self.guest_memory = self._memory.guest_memory
        self.lost = self._memory.lost_fd
        """A descriptor that is readable once a file was found to be shorter than its region."""

    def add(self, region: MemoryRegion, descriptor: int) -> GuestRegions:
        """Return these regions and one more. Errors: FrontEndViolation."""
        if region in self._files:
            raise FrontEndViolation(f"the region at {region.guest_address:#x} was added before")
        return GuestRegions({**self._files, region: descriptor})

    def remove(self, region: MemoryRegion) -> GuestRegions | None:
        """Return these regions without one; None if it was the last.

        Addresses and size identify it; the offset does not count. Errors: FrontEndViolation.
        """
        found = [
            known
            for known in self._files
            if (known.guest_address, known.user_address, known.size)
            == (region.guest_address, region.user_address, region.size)
        ]
        if not found:
            raise FrontEndViolation(
                f"no region of {region.size} bytes at {region.guest_address:#x} can be removed"
            )
        if len(self._files) == 1:
            return None
        left = {region: self._files[region] for region in self._files if region not in found}
        return GuestRegions(left)

    @property
    def size(self) -> int:
        """The sizes of all regions together, in bytes."""
        return sum(region.size for region in self._files)

    def __len__(self) -> int:
        return len(self._files)

    def to_guest(self, user_address: int) -> int | None:
        """Translate a user address; None outside of every region."""
        for region in self._files:
            offset = user_address - region.user_address
            if 0 <= offset < region.size:
                return region.guest_address + offset
        return None

    def close(self) -> None:
        """Close the files. The mapping lasts as long as something uses it."""
        close_all(self._files.values())
        self._files = {}

    def _check(self) -> None:
        """Check the user addresses; mapping checks the guest addresses."""
        if len(self._files) > SLOTS_MAX:
            raise FrontEndViolation(f"more than {SLOTS_MAX} memory regions")
        ranges = sorted(
            (region.user_address, region.user_address + region.size) for region in self._files
        )
        for (_, end), (start, _) in zip(ranges, [*ranges[1:], (END, END)], strict=True):
            if end > start:
                raise FrontEndViolation(f"memory regions overlap at the user address {start:#x}")
