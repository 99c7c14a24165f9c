"""One request to a disk: struct virtio_blk_req (virtio 1.4, 5.2.6), and the caller's memory.

https://docs.oasis-open.org/virtio/virtio/v1.4/virtio-v1.4.html
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from virtmesh_common.blk.spec import RequestStatus, RequestType
from virtmesh_common.errors import BlockIOError, BlockUnsupported

_HEADER = struct.Struct("<IIQ")
_SEGMENT = struct.Struct("<QII")
"""struct virtio_blk_discard_write_zeroes: sector, num_sectors, flags (5.2.6)."""
WRITE_ZEROES_FLAG_UNMAP = 1
"""Bit 0 of its flags, `unmap` (5.2.6)."""


@dataclass(frozen=True)
class BlkReq:
    """The head of struct virtio_blk_req: type, reserved, sector (5.2.6)."""

    type: RequestType
    sector: int = 0

    SIZE = _HEADER.size

    def encode(self) -> bytes:
        """Lay it out for the device."""
        return _HEADER.pack(self.type, 0, self.sector)


@dataclass(frozen=True)
class BlkResp:
    """The tail of struct virtio_blk_req: the status byte (5.2.6)."""

    status: int

    SIZE = 1
    UNWRITTEN = 0xFF
    """What the status byte holds until the device writes it. No status has this value."""

    def check(self, request: BlkReq) -> None:
        """Raise what the status means. Errors: BlockIOError; BlockUnsupported."""
        if self.status == RequestStatus.VIRTIO_BLK_S_OK:
            return
        what = f"{request.type.name} at sector {request.sector}"
        if self.status == RequestStatus.VIRTIO_BLK_S_UNSUPP:
            raise BlockUnsupported(f"the disk does not support {what}")
        if self.status == RequestStatus.VIRTIO_BLK_S_IOERR:
            raise BlockIOError(f"the disk failed {what}")
        raise BlockIOError(f"the disk answered {what} with the unknown status {self.status}")


@dataclass(frozen=True)
class Request:
    """A request that has no slot yet."""

    head: BlkReq
    out: memoryview | None = None
    """Bytes that go to the disk."""
    into: memoryview | None = None
    """Memory for the bytes that come from the disk."""


def read_request(sector: int, into: memoryview) -> Request:
    """Make a request that fills `into` from a sector on."""
    return Request(BlkReq(RequestType.VIRTIO_BLK_T_IN, sector), into=into)


def write_request(sector: int, out: memoryview) -> Request:
    """Make a request that writes `out` from a sector on."""
    return Request(BlkReq(RequestType.VIRTIO_BLK_T_OUT, sector), out=out)


def range_request(kind: RequestType, sector: int, sectors: int, flags: int = 0) -> Request:
    """Make a request to discard or zero a range."""
    return Request(BlkReq(kind), out=memoryview(_SEGMENT.pack(sector, sectors, flags)))
