"""What a disk is made of, and the features that it offers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from virtmesh_common.blk import spec as blk
from virtmesh_common.blk.spec import BlkFeature
from virtmesh_common.virtio.features import TRANSPORT_FEATURES

if TYPE_CHECKING:
    from pathlib import Path

ON_ERROR = ("report", "stop")
"""What is done with a request that the storage fails: complete it so, or hold it and try again."""
CACHE = WRITEBACK, NONE = ("writeback", "none")
"""Whether reads and writes go through the page cache of this host."""
ENGINES = ("auto", "threads", "io_uring", "null")
"""What executes requests."""
POLL_US = 50
"""Default of poll_us."""
POLL_US_MAX = 1000
SEG_MAX = 126
"""Default of seg_max: with a header and a status byte, 128 descriptors."""
SIZE_MAX = 1 << 20
"""Default of size_max, in bytes."""

OFFERED = (
    TRANSPORT_FEATURES
    | BlkFeature.VIRTIO_BLK_F_SIZE_MAX
    | BlkFeature.VIRTIO_BLK_F_SEG_MAX
    | BlkFeature.VIRTIO_BLK_F_GEOMETRY
    | BlkFeature.VIRTIO_BLK_F_BLK_SIZE
    | BlkFeature.VIRTIO_BLK_F_FLUSH
    | BlkFeature.VIRTIO_BLK_F_TOPOLOGY
    | BlkFeature.VIRTIO_BLK_F_CONFIG_WCE
    | BlkFeature.VIRTIO_BLK_F_MQ
)
"""Features of every disk."""
OFFERED_WRITABLE = BlkFeature.VIRTIO_BLK_F_DISCARD | BlkFeature.VIRTIO_BLK_F_WRITE_ZEROES
"""Features of a disk that takes writes."""


@dataclass(frozen=True)
class BlkOptions:
    """What a disk is made of. Sizes are in bytes, `queue_size` in entries.

    `size_max` and `seg_max` limit a segment and the number of segments of a request; `without` has
    the bits of features that it does not offer; `on_error` is one of ON_ERROR; `write_log` is the
    file that records what changes the disk. `poll_us` is how long the thread of a queue polls its
    ring before it sleeps, at most, and 0 turns that off; None is POLL_US, but where the service may
    use one processor only it does not poll. `cache` is one of CACHE, `engine` one of ENGINES.
    """

    image: Path
    read_only: bool = False
    serial: str = ""
    queues: int = 1
    queue_size: int = 256
    block_size: int = blk.SECTOR
    seg_max: int = SEG_MAX
    size_max: int = SIZE_MAX
    threads: int = 4
    without: int = 0
    on_error: str = ON_ERROR[0]
    write_log: Path | None = None
    poll_us: int | None = None
    cache: str = WRITEBACK
    engine: str = ENGINES[0]

    @property
    def poll_limit_us(self) -> int:
        """How long the thread of a queue polls before it sleeps, at most, in microseconds."""
        return POLL_US if self.poll_us is None else self.poll_us
