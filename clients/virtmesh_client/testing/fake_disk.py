"""A disk in memory that plays faults: what FakeKernel serves."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field

from virtmesh_common.blk.errors import BlockReadOnly, PastEnd, Unaligned
from virtmesh_common.errors import DeviceLost

BLOCK_BYTES = 512


@dataclass
class FakeDisk:
    """A disk in memory, and the faults that it plays: set them while it is served."""

    name: str
    data: bytearray
    """What is on it: look at it, or change it."""
    read_only: bool = False
    lose_after_bytes: int | None = None
    """Bytes after which a stream loses the device; None: it never does."""
    corrupt: bool = False
    """Reads return other bytes than were written."""
    requests: Counter[str] = field(default_factory=Counter)
    """Requests that it carried out, by type: IN, OUT, FLUSH, DISCARD, WRITE_ZEROES."""
    transferred: Counter[str] = field(default_factory=Counter)
    """Bytes of these requests, by type."""
    generation: int = 0
    """How often it was resized."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def check(self, offset: int, length: int) -> None:
        """Refuse a range that is not on the disk. Errors: PastEnd."""
        if offset + length > len(self.data):
            raise PastEnd(
                f"{self.name} ends at byte {len(self.data)}:"
                f" {length} bytes at offset {offset} are not on it"
            )

    def check_writable(self) -> None:
        """Refuse a write. Errors: BlockReadOnly."""
        if self.read_only:
            raise BlockReadOnly(f"{self.name} is read-only")

    def check_aligned(self, *values: int) -> None:
        """Refuse what is not a multiple of a block. Errors: Unaligned."""
        if any(value % BLOCK_BYTES for value in values):
            raise Unaligned(
                f"offset and length must be multiples of the block size, {BLOCK_BYTES} bytes"
            )

    def check_alive(self, done: int) -> None:
        """Play the loss of the device. Errors: DeviceLost."""
        if self.lose_after_bytes is not None and done >= self.lose_after_bytes:
            raise DeviceLost(f"{self.name}: the device service went away", written_bytes=done)

    def count(self, kind: str, size: int = 0) -> None:
        """Count a request."""
        with self.lock:
            self.requests[kind] += 1
            self.transferred[kind] += size

    def read(self, offset: int, length: int) -> bytes:
        """Read a range that was checked."""
        self.count("IN", length)
        data = bytes(self.data[offset : offset + length])
        return bytes(255 - byte for byte in data) if self.corrupt else data

    def write(self, offset: int, data: bytes) -> None:
        """Write a range. Errors: PastEnd, BlockReadOnly."""
        self.check_writable()
        self.check(offset, len(data))
        self.data[offset : offset + len(data)] = data
        self.count("OUT", len(data))
