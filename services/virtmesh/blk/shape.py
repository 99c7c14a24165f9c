"""What a disk is, as its driver found it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from virtmesh_common.blk.errors import DiskChanged
from virtmesh_common.blk.spec import SECTOR, RequestType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from virtmesh.blk.request import BlkReq

_FLUSH, _DISCARD = RequestType.VIRTIO_BLK_T_FLUSH, RequestType.VIRTIO_BLK_T_DISCARD
_ZERO = RequestType.VIRTIO_BLK_T_WRITE_ZEROES
_CHANGES = frozenset({RequestType.VIRTIO_BLK_T_OUT, _DISCARD, _ZERO})


@dataclass(frozen=True)
class Shape:
    """A disk's size, limits and features. Sizes are in bytes."""

    capacity: int = 0
    block_size: int = SECTOR
    request_size_max: int = 0
    discard_size_max: int = 0
    write_zeroes_size_max: int = 0
    may_unmap: bool = False
    read_only: bool = False
    write_back: bool = False
    has_flush: bool = False
    serial: str = ""
    features: Sequence[str] = ()
    """Names of the features in use, ascending by bit."""
    queue_count: int = 0

    def check_same(self, name: str, before: Shape) -> None:
        """Refuse to go on with what was begun on the disk as it was before. Errors: DiskChanged."""
        if self.serial != before.serial:
            raise DiskChanged(
                f"{name} came back as another disk: its serial is {self.serial!r},"
                f" it was {before.serial!r}",
                what="serial",
            )
        if self.block_size != before.block_size:
            raise DiskChanged(
                f"{name} came back as another disk: its blocks have {self.block_size} bytes,"
                f" they had {before.block_size}",
                what="block_size",
            )

    def check_takes(self, name: str, request: BlkReq) -> None:
        """Refuse a request that the disk, as it came back, can't carry out. Errors: DiskChanged."""
        kind = request.type
        if kind in _CHANGES and self.read_only:
            raise DiskChanged(f"{name} came back read-only: {kind.name} was lost", what="read_only")
        if kind == _FLUSH and not self.has_flush:
            raise DiskChanged(f"{name} came back without FLUSH", what="features")
        most = self._size_max(kind)
        if request.size > most:
            raise DiskChanged(
                f"{name} came back with smaller requests: {kind.name} is of {request.size} bytes,"
                f" and it takes {most}",
                what="features",
            )
        end = request.first_sector * SECTOR + request.size
        if end > self.capacity:
            raise DiskChanged(
                f"{name} came back smaller: {kind.name} ends at byte {end}, the disk at"
                f" {self.capacity}",
                what="capacity",
            )

    def _size_max(self, kind: RequestType) -> int:
        """Return the most bytes of one request of a type."""
        if kind == _DISCARD:
            return self.discard_size_max
        return self.write_zeroes_size_max if kind == _ZERO else self.request_size_max
