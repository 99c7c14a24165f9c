"""The driver of virtio block devices (virtio 1.4, 5.2).

https://docs.oasis-open.org/virtio/virtio/v1.4/virtio-v1.4.html

A request is a chain of three parts: `BlkReq`, which the device reads; the data; and `BlkResp`, one
byte that the device writes. They lie in a slot, a piece of guest memory that belongs to one queue.
Slots are as many as the ring takes at worst, so a task that has a slot never finds the ring full;
tasks without one wait their turn. A slot whose task was cancelled stays busy until the device gives
it back, so that the device never writes to memory that serves someone else.
"""

from __future__ import annotations

import asyncio
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING

from virtmesh.blk.block_device import BlockDevice
from virtmesh.drivers.pool import Pool
from virtmesh.drivers.virtio import VirtIODriver
from virtmesh.machine import InterruptMode
from virtmesh.telemetry.definitions import LATENCY_BOUNDS, Histogram
from virtmesh.virtio.queue import VirtQueue
from virtmesh_common.blk import spec as blk
from virtmesh_common.blk.errors import BlockIOError, BlockUnsupported
from virtmesh_common.blk.spec import BlkFeature, RequestStatus, RequestType
from virtmesh_common.errors import DriverError, QueueUnusable, RingCorrupt, VirtmeshError
from virtmesh_common.printable import printable
from virtmesh_common.virtio.features import Feature

if TYPE_CHECKING:
    from collections.abc import Iterator

    from virtmesh.attach.bus import Bus
    from virtmesh.attach.guest_ram import Ram
    from virtmesh.virtio.queue import Buffer
    from virtmesh_common.registers import Register

QUEUES_MAX = 4
"""Most queues used: Python keeps no more of them busy."""
QUEUE_SIZE_MAX = 128
"""Most entries of a queue used."""
SLOTS_MAX = 32
"""Most requests in flight on one queue."""
DATA_MAX = 128 << 10
"""Most data of one request, in bytes: enough that the work for each request fades."""
SETTLE_S = 5.0
"""Longest wait for writes that have begun when the driver is told to stop."""
RAM_SHARE = 0.75
"""Part of RAM that slots may take; the rest is for rings."""

_WRITE_ZEROES_FLAG_UNMAP = 1
"""struct virtio_blk_discard_write_zeroes, flags.unmap (5.2.6)."""
_UNWRITTEN = 0xFF
"""What the status byte holds until the device writes it: no status that there is."""
_HEADER = struct.Struct("<IIQ")
_SEGMENT = struct.Struct("<QII")


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


@dataclass
class _Pending:
    """A request that the device has: who waits for it, and where its data goes."""

    slot: Slot
    request: BlkReq
    into: memoryview | None
    done: asyncio.Future[None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    begun: float = field(default_factory=monotonic)
    """When it was made, in seconds of the monotonic clock."""


class VirtIOBlk(VirtIODriver, BlockDevice):
    """A virtio disk."""

    device_id = blk.VIRTIO_ID_BLOCK
    family = BlkFeature
    wanted = (
        BlkFeature.VIRTIO_BLK_F_SIZE_MAX
        | BlkFeature.VIRTIO_BLK_F_SEG_MAX
        | BlkFeature.VIRTIO_BLK_F_GEOMETRY
        | BlkFeature.VIRTIO_BLK_F_RO
        | BlkFeature.VIRTIO_BLK_F_BLK_SIZE
        | BlkFeature.VIRTIO_BLK_F_FLUSH
        | BlkFeature.VIRTIO_BLK_F_TOPOLOGY
        | BlkFeature.VIRTIO_BLK_F_CONFIG_WCE
        | BlkFeature.VIRTIO_BLK_F_MQ
        | BlkFeature.VIRTIO_BLK_F_DISCARD
        | BlkFeature.VIRTIO_BLK_F_WRITE_ZEROES
    )

    def __init__(
        self,
        bus: Bus,
        interrupts: InterruptMode = InterruptMode.INTERRUPT,
        *,
        refused: int = 0,
    ) -> None:
        VirtIODriver.__init__(self, bus, interrupts, refused=refused)
        BlockDevice.__init__(self)
        self.serial = ""
        self.write_back = False
        self.slots: Pool[Slot] = Pool(())
        self.durations = Histogram(LATENCY_BOUNDS)
        """Seconds from making a request to its completion, without waiting for a slot."""
        self._segment_size = 0
        self._pending: dict[tuple[int, int], _Pending] = {}

    @property
    def facts(self) -> list[str]:
        """The size of the disk, and how it may be used."""
        cache = "write-back" if self.write_back else "write-through"
        access = "read-only" if self.read_only else cache
        return [f"{self.capacity} bytes in blocks of {self.block_size}, {access}"]

    async def set_up(self) -> None:
        """Read what the disk is, and set its queues up."""
        await self._read_limits()
        await self.config_changed()
        await self._set_up_queues()

    async def ready(self) -> None:
        """Ask the disk for its name."""
        name = bytearray(blk.VIRTIO_BLK_ID_BYTES)
        try:
            await self._request(BlkReq(RequestType.VIRTIO_BLK_T_GET_ID), into=memoryview(name))
        except BlockUnsupported:
            return
        text = name.split(b"\0")[0].decode("ascii", "replace")
        self.serial = printable(text)

    async def config_changed(self) -> None:
        """Read the capacity and the cache mode."""
        config = await self.header.read_config([blk.CAPACITY, *self._if_write_cache()])
        self.capacity = config[blk.CAPACITY] * blk.SECTOR
        # Without CONFIG_WCE, a disk that has FLUSH is to be taken for write-back (5.2.5).
        flush = int(self.header.has(BlkFeature.VIRTIO_BLK_F_FLUSH))
        self.write_back = bool(config.get(blk.WRITEBACK, flush))

    async def read_block(self, block_id: int, buf: memoryview | bytearray) -> None:
        """Read consecutive blocks."""
        request = BlkReq(RequestType.VIRTIO_BLK_T_IN, self._sector(block_id))
        await self._request(request, into=memoryview(buf))

    async def write_block(self, block_id: int, buf: memoryview | bytes | bytearray) -> None:
        """Write consecutive blocks."""
        request = BlkReq(RequestType.VIRTIO_BLK_T_OUT, self._sector(block_id))
        await self._request(request, out=memoryview(buf))

    async def discard_block(self, block_id: int, count: int) -> None:
        """Give blocks up."""
        await self._request_range(RequestType.VIRTIO_BLK_T_DISCARD, block_id, count, 0)

    async def zero_block(self, block_id: int, count: int, *, unmap: bool) -> None:
        """Zero blocks."""
        flags = _WRITE_ZEROES_FLAG_UNMAP if unmap and self._may_unmap else 0
        await self._request_range(RequestType.VIRTIO_BLK_T_WRITE_ZEROES, block_id, count, flags)

    async def flush(self) -> None:
        """Make every completed write durable."""
        # Without FLUSH the disk is write-through: a write that is complete is durable (5.2.6.2).
        if self.header.has(BlkFeature.VIRTIO_BLK_F_FLUSH):
            await self._request(BlkReq(RequestType.VIRTIO_BLK_T_FLUSH))
        self.bus.check()

    def completed(self, queue: VirtQueue, token: int, written: int) -> None:
        """Take the outcome out of a slot, wake its task, and give the slot to the next."""
        pending = self._pending.pop((queue.index, token), None)
        if pending is None:
            raise RingCorrupt(f"{self.name} used chain {token} of queue {queue.index} unasked")
        self.durations.observe(monotonic() - pending.begun)
        try:
            self._take_outcome(pending, written)
        except VirtmeshError as error:
            if not pending.done.done():
                pending.done.set_exception(error)
        else:
            if not pending.done.done():
                pending.done.set_result(None)
        self.slots.give(pending.slot)

    def abandon(self, error: VirtmeshError) -> None:
        """Fail every request, in flight or waiting for a slot."""
        self.slots.fail(error.again)
        for pending in self._pending.values():
            if not pending.done.done():
                pending.done.set_exception(error.again())
        self._pending.clear()

    async def close(self) -> None:
        """Let writes that have begun finish, then stop."""
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_S):
                await self.settle()
        await super().close()
        await self.settle()

    async def _read_limits(self) -> None:
        """Read what does not change while the disk is in use."""
        has = self.header.has
        wanted = {
            blk.SIZE_MAX: BlkFeature.VIRTIO_BLK_F_SIZE_MAX,
            blk.SEG_MAX: BlkFeature.VIRTIO_BLK_F_SEG_MAX,
            blk.BLK_SIZE: BlkFeature.VIRTIO_BLK_F_BLK_SIZE,
            blk.NUM_QUEUES: BlkFeature.VIRTIO_BLK_F_MQ,
            blk.MAX_DISCARD_SECTORS: BlkFeature.VIRTIO_BLK_F_DISCARD,
            blk.MAX_WRITE_ZEROES_SECTORS: BlkFeature.VIRTIO_BLK_F_WRITE_ZEROES,
            blk.WRITE_ZEROES_MAY_UNMAP: BlkFeature.VIRTIO_BLK_F_WRITE_ZEROES,
        }
        config = await self.header.read_config([one for one, bit in wanted.items() if has(bit)])
        size = config.get(blk.BLK_SIZE, blk.SECTOR)
        if size < blk.SECTOR or size & (size - 1):
            raise DriverError(f"blk_size of {self.name} is {size}: not a power of two from 512 on")
        self.block_size = size
        self.read_only = has(BlkFeature.VIRTIO_BLK_F_RO)
        self.discard_size_max = self._whole_blocks(config.get(blk.MAX_DISCARD_SECTORS, 0))
        self.write_zeroes_size_max = self._whole_blocks(config.get(blk.MAX_WRITE_ZEROES_SECTORS, 0))
        self._may_unmap = bool(config.get(blk.WRITE_ZEROES_MAY_UNMAP, 0))
        # Without the feature, or with the value 0, one segment is what every disk takes.
        self._segments_max = config.get(blk.SEG_MAX, 1) or 1
        self._segment_size = config.get(blk.SIZE_MAX, DATA_MAX)
        self._queues_max = min(config.get(blk.NUM_QUEUES, 1) or 1, QUEUES_MAX)
        if not self._segment_size:
            raise DriverError(f"size_max of {self.name} is 0: no segment fits")

    async def _set_up_queues(self) -> None:
        """Set the queues up, and cut slots for them."""
        sizes = [await self._queue_size(index) for index in range(self._queues_max)]
        smallest = min(sizes)
        # A chain is never longer than the queue, indirect or not (2.7.5.3.1).
        segments = min(self._segments_max, smallest - 2)
        room = int(self.bus.ram.size * RAM_SHARE) // (len(sizes) * SLOTS_MAX) - Slot.FRAME_SIZE
        data = min(DATA_MAX, max(room, self.block_size), segments * self._segment_size)
        self.request_size_max = data - data % self.block_size
        if self.request_size_max <= 0:
            raise QueueUnusable(
                f"{self.name} takes {segments} segments of {self._segment_size} bytes:"
                f" not even one block of {self.block_size}"
            )
        chain = -(-self.request_size_max // self._segment_size) + 2
        slots = []
        for index, size in enumerate(sizes):
            queue = await VirtQueue.set_up(self.header, index, size, chain_max=chain)
            self.queues.append(queue)
            indirect = self.header.has(Feature.VIRTIO_F_INDIRECT_DESC)
            count = min(SLOTS_MAX, size if indirect else size // chain)
            slots.append(list(self._cut_slots(queue, count)))
        # Slots of the queues in turn, so that requests spread over the queues.
        longest = max(len(one) for one in slots)
        self.slots = Pool(one[turn] for turn in range(longest) for one in slots if turn < len(one))

    async def _queue_size(self, index: int) -> int:
        """Choose the size of a queue. Errors: QueueUnusable."""
        offered = await self.header.queue_size_max(index)
        size = min(1 << max(offered.bit_length() - 1, 0), QUEUE_SIZE_MAX)
        if offered < 3:
            raise QueueUnusable(f"queue {index} has {offered} entries: a request needs 3")
        return size

    def _cut_slots(self, queue: VirtQueue, count: int) -> Iterator[Slot]:
        """Cut slots out of RAM."""
        pages = self.bus.ram.pages
        data = pages.allocate(self.request_size_max * count)
        frame = pages.allocate(Slot.FRAME_SIZE * count)
        for number in range(count):
            yield Slot(
                queue, data + number * self.request_size_max, frame + number * Slot.FRAME_SIZE
            )

    async def _request_range(
        self, kind: RequestType, block_id: int, count: int, flags: int
    ) -> None:
        """Send a request about a range, one struct virtio_blk_discard_write_zeroes (5.2.6)."""
        sectors = count * self.block_size // blk.SECTOR
        segment = _SEGMENT.pack(self._sector(block_id), sectors, flags)
        await self._request(BlkReq(kind), out=memoryview(segment))

    async def _request(
        self, request: BlkReq, *, out: memoryview | None = None, into: memoryview | None = None
    ) -> None:
        """Send a request and wait for its outcome: `out` goes to the disk, `into` comes from it."""
        slot = await self.slots.take()
        try:
            pending = _Pending(slot, request, into)
            token = self._add(pending, out)
        except BaseException:
            self.slots.give(slot)
            raise
        self._pending[slot.queue.index, token] = pending
        self.notify(slot.queue)
        await pending.done

    def _add(self, pending: _Pending, out: memoryview | None) -> int:
        """Write a request to its slot and add it to the ring: its token."""
        slot, ram = pending.slot, self.bus.ram
        _copy_in(ram, slot.request, pending.request.encode())
        _copy_in(ram, slot.response, bytes([_UNWRITTEN]))
        readable, writable = [slot.request], [slot.response]
        if out is not None:
            _copy_in(ram, (slot.data, len(out)), out)
            readable += slot.segments(len(out), self._segment_size)
        if pending.into is not None:
            writable = slot.segments(len(pending.into), self._segment_size) + writable
        token = slot.queue.add(readable, writable)
        if token is None:
            raise RingCorrupt(f"queue {slot.queue.index} of {self.name} has no room for a slot")
        return token

    def _take_outcome(self, pending: _Pending, written: int) -> None:
        """Check what the device wrote, and copy the data out. Errors: BlockError classes."""
        slot, into = pending.slot, pending.into
        with self.bus.ram.view(*slot.response) as status:
            BlkResp(status[0]).check(pending.request)
        if into is None or pending.done.done():
            return
        if written < len(into) + BlkResp.SIZE:
            # What lies behind the written bytes is left over from an earlier request (2.6.8.2).
            raise BlockIOError(f"the disk wrote {written} bytes of {len(into) + BlkResp.SIZE}")
        with self.bus.ram.view(slot.data, len(into)) as data:
            into[:] = data

    def _sector(self, block_id: int) -> int:
        """Return the sector of a block: the protocol counts 512 bytes, whatever the block size."""
        return block_id * (self.block_size // blk.SECTOR)

    def _whole_blocks(self, sectors: int) -> int:
        """Return the bytes of so many sectors, rounded down to blocks."""
        size = sectors * blk.SECTOR
        return size - size % self.block_size

    def _if_write_cache(self) -> list[Register]:
        """Return the field of the cache mode, where there is one."""
        return [blk.WRITEBACK] if self.header.has(BlkFeature.VIRTIO_BLK_F_CONFIG_WCE) else []


def _copy_in(ram: Ram, where: Buffer, data: bytes | memoryview) -> None:
    """Copy bytes into guest memory."""
    with ram.view(*where) as target:
        target[:] = data
