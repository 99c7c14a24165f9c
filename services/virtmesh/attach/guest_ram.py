"""Guest RAM on the driver's side: a sealed memfd, and the allocation of its pages.

Each attachment has a RAM of its own. A device sees the memory of its own driver and nothing else,
as behind an IOMMU with a domain for each device. When a device is lost, its whole RAM is dropped:
a page that the device may still write to is never used again.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from typing import TYPE_CHECKING, Self

from virtmesh_native import GuestMemory

from virtmesh_common.memory_map import RAM_ADDRESS

if TYPE_CHECKING:
    from types import TracebackType

PAGE = mmap.PAGESIZE
SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
"""The size of the file can't change any more, so neither side can kill the other by SIGBUS."""


class Ram:
    """Guest RAM of one attachment: `size` bytes from guest physical address `address`.

    `descriptor` is the memfd; `guest_memory` maps it for rings, `view` for copies of data.
    Errors: OSError if the system can't provide or map that much memory.
    """

    def __init__(self, size: int, address: int = RAM_ADDRESS) -> None:
        self.size = size
        self.address = address
        self.descriptor = os.memfd_create("virtmesh-ram", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(self.descriptor, size)
            fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, SEALS)
            self.guest_memory = GuestMemory([(self.descriptor, address, size, 0)])
            self._map = mmap.mmap(self.descriptor, size)
        except BaseException:
            os.close(self.descriptor)
            raise
        self._view = memoryview(self._map)
        self.pages = PageAllocator(address, size)

    def view(self, address: int, length: int) -> memoryview:
        """Return the bytes at a guest address. Release the view before RAM is closed.

        Errors: ValueError if the range is not in RAM.
        """
        start = address - self.address
        if not 0 <= start <= start + length <= self.size:
            raise ValueError(
                f"{length} bytes at {address:#x} are not in RAM, which has {self.size} bytes from"
                f" {self.address:#x} on"
            )
        return self._view[start : start + length]

    def map(self, address: int, length: int) -> mmap.mmap:
        """Map whole pages once more. The mapping is the caller's, and may outlive this RAM.

        Errors: OSError.
        """
        return mmap.mmap(self.descriptor, length, offset=address - self.address)

    def close(self) -> None:
        """Unmap RAM. The device keeps its own mapping until it is detached.

        A ring that uses this RAM keeps it mapped for as long as the ring exists.
        """
        # An object in a reference cycle may refer to this RAM and be collected late: unmap it now.
        del self.guest_memory
        self._view.release()
        self._map.close()
        os.close(self.descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class PageAllocator:
    """Allocates pages of guest memory: first fit; adjacent free pieces are merged."""

    def __init__(self, address: int, size: int) -> None:
        self._free = [(address, size)]  # ascending, never adjacent
        self._taken: dict[int, int] = {}

    @property
    def free_bytes(self) -> int:
        """Free bytes, in all pieces together."""
        return sum(size for _, size in self._free)

    def allocate(self, length: int) -> int:
        """Return the address of at least `length` bytes, on a page.

        Errors: ValueError for a length below 1; MemoryError if no free piece is large enough.
        """
        if length <= 0:
            raise ValueError(f"{length} bytes can't be allocated: ask for 1 or more")
        size = length + -length % PAGE
        for index, (address, room) in enumerate(self._free):
            if room >= size:
                rest = [(address + size, room - size)] if room > size else []
                self._free[index : index + 1] = rest
                self._taken[address] = size
                return address
        raise MemoryError(
            f"guest RAM has no {length} free bytes in one piece: give the machine more memory"
        )

    def release(self, address: int) -> None:
        """Free what `allocate` returned. Errors: ValueError for any other address."""
        size = self._taken.pop(address, None)
        if size is None:
            raise ValueError(f"nothing is allocated at {address:#x}, so it can't be released")
        merged: list[tuple[int, int]] = []
        for piece in sorted([*self._free, (address, size)]):
            if merged and sum(merged[-1]) == piece[0]:
                merged[-1] = (merged[-1][0], merged[-1][1] + piece[1])
            else:
                merged.append(piece)
        self._free = merged
