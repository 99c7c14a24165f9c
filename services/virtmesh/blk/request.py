"""Requests to a disk (struct virtio_blk_req, virtio 1.4, 5.2.6), and slots of guest memory.

https://docs.oasis-open.org/virtio/virtio/v1.4/virtio-v1.4.html

A request waits in one place only, for a slot. A queue has as many slots as its ring takes at worst,
so whoever has a slot never finds the ring full. `Pool` hands slots out first come, first served,
and an operation waits for one slot at a time: so a long operation takes turns with all others, and
a short one waits for one completion, not for the end of the long one. A slot stays busy until the
device gives its request back, even when the caller is gone: the device never writes to memory that
serves someone else.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from virtmesh.drivers.pool import Pool
from virtmesh_common.blk.errors import BlockIOError, BlockUnsupported
from virtmesh_common.blk.failure import UNKNOWN
from virtmesh_common.blk.spec import SECTOR, RequestStatus, RequestType

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from virtmesh.attach.guest_ram import PageAllocator, Ram
    from virtmesh.virtio.queue import Buffer, VirtQueue

SLOTS_MAX = 32
"""Most requests in flight on one queue."""
_HEADER = struct.Struct("<IIQ")
_SEGMENT = struct.Struct("<QII")
"""struct virtio_blk_discard_write_zeroes: sector, num_sectors, flags (5.2.6)."""
_WITH_RANGES = frozenset({RequestType.VIRTIO_BLK_T_DISCARD, RequestType.VIRTIO_BLK_T_WRITE_ZEROES})
"""Types whose data are ranges."""
WRITE_ZEROES_FLAG_UNMAP = 1
"""Bit 0 of its flags, `unmap` (5.2.6)."""


@dataclass(frozen=True)
class Place:
    """Where data lies in the guest memory of a driver: its RAM, and the guest address there."""

    ram: Ram
    address: int

    def behind(self, size: int) -> Place:
        """Return the place so many bytes further on."""
        return Place(self.ram, self.address + size)


@dataclass(frozen=True)
class BlkReq:
    """The head of struct virtio_blk_req (type, reserved, sector; 5.2.6), and the caller's data."""

    type: RequestType
    sector: int = 0
    out: memoryview | None = None
    """Bytes that go to the disk."""
    into: memoryview | None = None
    """Memory for the bytes that come from the disk."""
    place: Place | None = None
    """Where the data lies, if that is guest memory: a driver that has this RAM copies nothing."""

    SIZE = _HEADER.size

    def address_in(self, ram: Ram) -> int | None:
        """Return the guest address of its data, if that lies in this RAM already."""
        return self.place.address if self.place is not None and self.place.ram is ram else None

    @property
    def first_sector(self) -> int:
        """The first sector that it is about; a range says it in its data."""
        if self.out is not None and self.type in _WITH_RANGES:
            sector: int = _SEGMENT.unpack_from(self.out)[0]
            return sector
        return self.sector

    @property
    def size(self) -> int:
        """Bytes of the disk that it is about; 0 for a request that is about none."""
        if self.type == RequestType.VIRTIO_BLK_T_GET_ID:
            return 0
        if self.out is not None and self.type in _WITH_RANGES:
            sectors: int = _SEGMENT.unpack_from(self.out)[1]
            return sectors * SECTOR
        data = self.into if self.out is None else self.out
        return 0 if data is None else len(data)

    def encode(self) -> bytes:
        """Lay the head out for the device."""
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
        what = f"{request.type.name} at sector {request.first_sector}"
        if self.status == RequestStatus.VIRTIO_BLK_S_UNSUPP:
            raise BlockUnsupported(f"the disk does not support {what}")
        if self.status == RequestStatus.VIRTIO_BLK_S_IOERR:
            raise BlockIOError(
                f"the disk failed {what}", cause=UNKNOWN, sector=request.first_sector
            )
        raise BlockIOError(f"the disk answered {what} with the unknown status {self.status}")


def range_request(kind: RequestType, sector: int, sectors: int, flags: int = 0) -> BlkReq:
    """Make a request to discard or zero a range."""
    return BlkReq(kind, out=memoryview(_SEGMENT.pack(sector, sectors, flags)))


@dataclass(frozen=True)
class Slot:
    """Guest memory for one request of one queue: where its data, its BlkReq and its BlkResp lie.

    Data is apart from the rest, so that it starts at a multiple of the block size.
    """

    queue: VirtQueue
    data: int
    head: Buffer
    status: Buffer

    FRAME_SIZE = 32
    """Room for BlkReq and BlkResp, in bytes."""


def segments(address: int, length: int, size: int) -> list[Buffer]:
    """Return data at a guest address as segments of at most `size` bytes."""
    return [(address + start, min(size, length - start)) for start in range(0, length, size)]


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
    frames = pages.allocate(Slot.FRAME_SIZE * count)
    for number in range(count):
        head = frames + number * Slot.FRAME_SIZE, BlkReq.SIZE
        status = head[0] + BlkReq.SIZE, BlkResp.SIZE
        yield Slot(queue, data + number * data_size, head, status)
