"""What a disk's configuration space says that does not change while the disk is in use (5.2.4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from virtmesh_common.blk import spec as blk
from virtmesh_common.blk.spec import BlkFeature
from virtmesh_common.errors import DriverError, QueueUnusable

if TYPE_CHECKING:
    from virtmesh.virtio.mmio_driver import VirtIOHeader

QUEUES_MAX = 4
"""Most queues used: Python keeps no more of them busy."""
DATA_MAX = 128 << 10
"""Most data of one request, in bytes: enough that the work for each request fades."""

_FEATURE_OF = {
    blk.SIZE_MAX: BlkFeature.VIRTIO_BLK_F_SIZE_MAX,
    blk.SEG_MAX: BlkFeature.VIRTIO_BLK_F_SEG_MAX,
    blk.BLK_SIZE: BlkFeature.VIRTIO_BLK_F_BLK_SIZE,
    blk.NUM_QUEUES: BlkFeature.VIRTIO_BLK_F_MQ,
    blk.MAX_DISCARD_SECTORS: BlkFeature.VIRTIO_BLK_F_DISCARD,
    blk.MAX_WRITE_ZEROES_SECTORS: BlkFeature.VIRTIO_BLK_F_WRITE_ZEROES,
    blk.WRITE_ZEROES_MAY_UNMAP: BlkFeature.VIRTIO_BLK_F_WRITE_ZEROES,
}
"""The feature without which a field has no meaning (5.2.4)."""


@dataclass(frozen=True)
class Limits:
    """Limits of a disk; sizes in bytes."""

    block_size: int
    segment_size: int
    """Most bytes of one segment."""
    segments: int
    """Most segments of one request."""
    queues: int
    """How many queues to use."""
    discard_size: int
    """Most bytes that one discard takes; 0 without discard."""
    write_zeroes_size: int
    """Most bytes that one write-zeroes takes; 0 without write-zeroes."""
    may_unmap: bool
    """True if a write-zeroes may give storage up."""

    def request_size(self, name: str, queue_size: int, room: int) -> int:
        """Return the most data of one request, in whole blocks, when a slot has `room` for it.

        Errors: QueueUnusable when that is not even one block.
        """
        # A chain is never longer than the queue, indirect or not (2.7.5.3.1).
        segments = min(self.segments, queue_size - 2)
        data = min(DATA_MAX, max(room, self.block_size), segments * self.segment_size)
        size = data - data % self.block_size
        if size <= 0:
            raise QueueUnusable(
                f"{name} takes {segments} segments of {self.segment_size} bytes in one request:"
                f" not even one block of {self.block_size} bytes"
            )
        return size

    def chain_length(self, request_size: int) -> int:
        """Return the most buffers of one request: header, segments, status."""
        return -(-request_size // self.segment_size) + 2


async def read_limits(header: VirtIOHeader, name: str) -> Limits:
    """Read the limits of a disk. Errors: DriverError for values that make no sense."""
    config = await header.read_config([one for one, bit in _FEATURE_OF.items() if header.has(bit)])
    block_size = config.get(blk.BLK_SIZE, blk.SECTOR)
    if block_size < blk.SECTOR or block_size & (block_size - 1):
        raise DriverError(
            f"blk_size of {name} is {block_size}: not a power of two from {blk.SECTOR} on"
        )
    segment_size = config.get(blk.SIZE_MAX, DATA_MAX)
    if not segment_size:
        raise DriverError(f"size_max of {name} is 0: no segment fits")

    def whole_blocks(sectors: int) -> int:
        size = sectors * blk.SECTOR
        return size - size % block_size

    return Limits(
        block_size,
        segment_size,
        # Without the feature, or with the value 0, one segment is what every disk takes.
        segments=config.get(blk.SEG_MAX, 1) or 1,
        queues=min(config.get(blk.NUM_QUEUES, 1) or 1, QUEUES_MAX),
        discard_size=whole_blocks(config.get(blk.MAX_DISCARD_SECTORS, 0)),
        write_zeroes_size=whole_blocks(config.get(blk.MAX_WRITE_ZEROES_SECTORS, 0)),
        may_unmap=bool(config.get(blk.WRITE_ZEROES_MAY_UNMAP, 0)),
    )
