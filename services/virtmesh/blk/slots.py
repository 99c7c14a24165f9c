"""Slots: pieces of guest memory for one request each.

A request waits in one place only, for a slot. A queue has as many slots as its ring takes at worst,
so whoever has a slot never finds the ring full. `Pool` hands slots out first come, first served,
and an operation waits for one slot at a time: so a long operation takes turns with all others, and
a short one waits for one completion, not for the end of the long one. A slot stays busy until the
device gives its request back, even when the caller is gone: the device never writes to memory that
serves someone else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from virtmesh.blk.request import BlkReq, BlkResp
from virtmesh.drivers.pool import Pool

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from virtmesh.attach.guest_ram import PageAllocator
    from virtmesh.virtio.queue import Buffer, VirtQueue

SLOTS_MAX = 32
"""Most requests in flight on one queue."""


@dataclass(frozen=True)
class Slot:
    """Guest memory for one request of one queue: where its data lies, and its frame.

    Data is apart from frames, so that it starts at a multiple of the block size.
    """

    queue: VirtQueue
    data: int
    frame: int

    FRAME_SIZE = 32
    """Room for BlkReq and BlkResp, in bytes."""

    @property
    def request(self) -> Buffer:
        """Where BlkReq lies."""
        return self.frame, BlkReq.SIZE

    @property
    def response(self) -> Buffer:
        """Where BlkResp lies."""
        return self.frame + BlkReq.SIZE, BlkResp.SIZE

    def segments(self, length: int, size: int) -> list[Buffer]:
        """Return the data as segments of at most `size` bytes."""
        return [(self.data + start, min(size, length - start)) for start in range(0, length, size)]


def make_slots(
    pages: PageAllocator, counts: Sequence[tuple[VirtQueue, int]], data_size: int
) -> Pool[Slot]:
    """Make slots with `data_size` bytes of data each: for each queue, how many it gets.

    Slots of the queues come in turn, so that requests spread over the queues. Errors: MemoryError.
    """
    slots = [list(_cut(pages, queue, count, data_size)) for queue, count in counts]
    longest = max(map(len, slots))
    return Pool(one[turn] for turn in range(longest) for one in slots if turn < len(one))


def _cut(pages: PageAllocator, queue: VirtQueue, count: int, data_size: int) -> Iterator[Slot]:
    """Cut the slots of one queue out of RAM."""
    data = pages.allocate(data_size * count)
    frame = pages.allocate(Slot.FRAME_SIZE * count)
    for number in range(count):
        yield Slot(queue, data + number * data_size, frame + number * Slot.FRAME_SIZE)
