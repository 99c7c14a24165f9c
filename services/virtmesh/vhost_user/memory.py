"""The memory of a vhost-user front end: its regions, and the two addresses that each byte has.

Rings are named by user addresses (of the front end's process), everything in them by guest
addresses ("Memory access").
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from virtmesh_native import FrontEndMemory

from virtmesh.vhost_user.messages import SLOTS_MAX
from virtmesh_common.errors import FrontEndViolation, MemoryRefused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from virtmesh.vhost_user.messages import MemoryRegion

END = 1 << 64
"""Behind the last address."""


class GuestRegions:
    """The regions at one time, mapped. A change makes a new object: `make`, `add`, `remove`.

    Files stay open, since a change maps all of them anew.
    """

    def __init__(self, files: Mapping[MemoryRegion, int]) -> None:
        """Map the regions; the descriptors stay the caller's. Errors: FrontEndViolation."""
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
        """Readable once a file turned out to be shorter than its region."""

    def add(self, region: MemoryRegion, descriptor: int) -> GuestRegions:
        """Return these regions and one more."""
        if region in self._files:
            raise FrontEndViolation(f"the region at {region.guest_address:#x} was added before")
        return GuestRegions({**self._files, region: descriptor})

    def remove(self, region: MemoryRegion) -> GuestRegions | None:
        """Return these regions without one; None when it was the last.

        It is named by its addresses and size; the offset does not count.
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
        """Close the files. The mapping lasts as long as somebody has it."""
        while self._files:
            os.close(self._files.popitem()[1])

    def _check(self) -> None:
        """Check the user addresses; the guest addresses are checked when they are mapped."""
        if len(self._files) > SLOTS_MAX:
            raise FrontEndViolation(f"more than {SLOTS_MAX} memory regions")
        ranges = sorted(
            (region.user_address, region.user_address + region.size) for region in self._files
        )
        for (_, end), (start, _) in zip(ranges, [*ranges[1:], (END, END)], strict=True):
            if end > start:
                raise FrontEndViolation(f"memory regions overlap at the user address {start:#x}")
