"""Block devices: whole blocks, as a driver moves them, and any range of bytes on top of that.

A driver implements `begin`, which gives one request to the device as soon as there is a slot for
it. Everything else is here. A range is cut into requests, and they begin one after the other: the
slots are the only limit of what is in flight (see request.py). Who changes a range holds its blocks
until the device has ended its requests, so that concurrent writers of the same block never undo one
another, and writes of the same range keep their order.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from virtmesh.blk.range_lock import RangeLock
from virtmesh.blk.request import WRITE_ZEROES_FLAG_UNMAP, BlkReq, range_request
from virtmesh_common.blk.errors import BlockReadOnly, BlockUnsupported, PastEnd, Unaligned
from virtmesh_common.blk.spec import SECTOR, RequestType
from virtmesh_common.errors import VirtmeshError

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Iterator

    from virtmesh.attach.guest_ram import Ram
    from virtmesh.blk.request import Place
    from virtmesh.blk.shape import Shape

IN, OUT = RequestType.VIRTIO_BLK_T_IN, RequestType.VIRTIO_BLK_T_OUT


class Operation:
    """One operation on a disk, such as a write of 1 MiB, and the requests of it in flight."""

    def __init__(self, *, bulk: bool = False) -> None:
        self.bulk = bulk
        """True for a piece of a long stream, which lets others go first."""
        self.error: VirtmeshError | None = None
        """The first error. After it no more requests begin."""
        self.wanted = True
        """False once nobody waits for it: the caller's memory must not be written any more."""
        self.in_flight = 0
        """Requests that have begun, or are about to, and have not ended."""
        self.idle: asyncio.Future[None] | None = None
        """Done when nothing is in flight, if the caller waits for that."""

    def ended(self, error: VirtmeshError | None = None) -> None:
        """Note the end of a request, and wake the caller after the last one."""
        self.error = self.error or error
        self.in_flight -= 1
        if self.in_flight == 0 and self.idle is not None and not self.idle.done():
            self.idle.set_result(None)

    def lost(self, request: BlkReq, error: VirtmeshError) -> None:
        """Note that the device has gone with a request: it ends, unless somebody begins it again.

        The device is of no more use; whether it had carried the request out, nobody knows.
        """
        del request
        self.ended(error.again())


class Order:
    """What keeps the changes of one disk in their order, whoever makes them."""

    def __init__(self) -> None:
        self.ranges = RangeLock()
        self.changes: set[asyncio.Task[None]] = set()
        """Writes, discards and write-zeroes under way."""


class BlockDevice(ABC):
    """A disk. Sizes and offsets are in bytes; block numbers count blocks of `block_size`.

    `order` is that of the disk, for one of several who use the same one.
    """

    name: str
    """Name of the device, for people."""

    def __init__(self, order: Order | None = None) -> None:
        self._order = order or Order()

    @property
    @abstractmethod
    def shape(self) -> Shape:
        """What the disk is."""

    @property
    def capacity(self) -> int:
        """Size of the disk; a resize changes it."""
        return self.shape.capacity

    @property
    def block_size(self) -> int:
        """Size of a block; a power of two, at least 512."""
        return self.shape.block_size

    @property
    def request_size_max(self) -> int:
        """Most bytes that one request moves; a multiple of the block size."""
        return self.shape.request_size_max

    @property
    def discard_size_max(self) -> int:
        """Most bytes that one discard takes; 0 when the disk has no discard."""
        return self.shape.discard_size_max

    @property
    def write_zeroes_size_max(self) -> int:
        """Most bytes that one write-zeroes takes; 0 when the disk has none."""
        return self.shape.write_zeroes_size_max

    @property
    def may_unmap(self) -> bool:
        """True if a write-zeroes may free the storage."""
        return self.shape.may_unmap

    @property
    def read_only(self) -> bool:
        """True when writes are refused."""
        return self.shape.read_only

    @property
    def write_back(self) -> bool:
        """True when completed writes are volatile until a flush."""
        return self.shape.write_back

    @property
    def serial(self) -> str:
        """What the disk calls itself; may be empty."""
        return self.shape.serial

    @property
    def guest_memory(self) -> Ram | None:
        """The guest memory of the present driver, for data that shall lie there; None: none."""
        return None

    @abstractmethod
    async def begin(self, request: BlkReq, operation: Operation) -> None:
        """Give a request to the device, as soon as there is a slot for it.

        `operation.ended` is called once when the request ends, unless this raises an error.
        Errors: DeviceLost, DeviceNeedsReset and RingCorrupt when the device can't be used.
        """

    @abstractmethod
    async def flush(self) -> None:
        """Make every completed write durable. Errors: as `run`."""

    def operation(self, *, bulk: bool) -> Operation:
        """Make the record of an operation."""
        return Operation(bulk=bulk)

    async def run(self, requests: Iterable[BlkReq], *, bulk: bool = False) -> None:
        """Carry requests out. They begin in order, each as soon as there is a slot.

        Those of pieces of a long stream (`bulk`) let others go first.

        After an error no more begin; the first error is raised when those in flight have ended.
        A cancelled caller leaves those in flight to the device.
        Errors: BlockIOError; BlockUnsupported; DeviceLost, DeviceNeedsReset and RingCorrupt when
        the device can't be used any more.
        """
        operation = self.operation(bulk=bulk)
        try:
            for request in requests:
                operation.in_flight += 1
                try:
                    await self.begin(request, operation)
                except VirtmeshError as error:
                    operation.ended(error)
                if operation.error is not None:
                    break
            if operation.in_flight:
                operation.idle = asyncio.get_running_loop().create_future()
                await operation.idle
        finally:
            operation.wanted = False
        if operation.error is not None:
            raise operation.error

    async def read_block(self, block_id: int, buf: memoryview | bytearray) -> None:
        """Read consecutive blocks into a buffer of whole blocks, at most one request's worth.

        Errors: as `run`.
        """
        await self.run([BlkReq(IN, self._sector(block_id), into=memoryview(buf))])

    async def write_block(self, block_id: int, buf: memoryview | bytes | bytearray) -> None:
        """Write consecutive blocks from a buffer of whole blocks, at most one request's worth.

        It neither waits for other writers of these blocks nor holds them up. Errors: as `run`.
        """
        await self.run([BlkReq(OUT, self._sector(block_id), out=memoryview(buf))])

    async def read_blocks(self, offset: int, into: memoryview, place: Place | None) -> None:
        """Read whole blocks of a long stream into memory that may lie in guest memory.

        The device may write there until this ends: it must not be cancelled.
        Errors: PastEnd; Unaligned; as `run`.
        """
        self._check_blocks(offset, len(into))
        requests = (
            BlkReq(
                IN,
                (offset + start) // SECTOR,
                into=into[start:stop],
                place=place and place.behind(start),
            )
            for start, stop in split(0, len(into), self.request_size_max)
        )
        await self.run(requests, bulk=True)

    async def read(self, offset: int, length: int, *, bulk: bool = False) -> memoryview:
        """Read a range. Errors: PastEnd; as `run`."""
        self.check_range(offset, length)
        first, end = self._blocks_around(offset, length)
        buffer = memoryview(bytearray(end - first))
        requests = (
            BlkReq(IN, (first + start) // SECTOR, into=buffer[start:stop])
            for start, stop in split(0, end - first, self.request_size_max)
        )
        await self.run(requests, bulk=bulk)
        return buffer[offset - first : offset - first + length]

    async def write(self, offset: int, data: memoryview | bytes | bytearray) -> None:
        """Write a range. Once begun, it goes on to its end even if the caller is cancelled.

        Errors: BlockReadOnly; PastEnd; as `run`. After an error a part may be written.
        """
        await asyncio.shield(self.begin_write(offset, data))

    def begin_write(
        self,
        offset: int,
        data: memoryview | bytes | bytearray,
        *,
        bulk: bool = False,
        place: Place | None = None,
    ) -> asyncio.Task[None]:
        """Begin to write a range; the task ends with the write, and must not be cancelled.

        `place` is where the data lies, if that is guest memory.
        Writes of the same blocks are carried out in the order in which they begin.
        Errors: BlockReadOnly; PastEnd. Of the task: as `run`.
        """
        self.check_writable()
        view = memoryview(data).cast("B")
        self.check_range(offset, len(view))
        return self._change(self._write(offset, view, place, bulk=bulk))

    async def discard(self, offset: int, length: int) -> None:
        """Discard a range of whole blocks. Its content is undefined afterwards.

        Errors: BlockReadOnly; BlockUnsupported; Unaligned; PastEnd; as `run`.
        """
        self.check_writable()
        if not self.discard_size_max:
            raise BlockUnsupported(f"{self.name} has no discard")
        kind = RequestType.VIRTIO_BLK_T_DISCARD
        await self._change_range(offset, length, kind, self.discard_size_max)

    async def write_zeroes(self, offset: int, length: int, *, unmap: bool) -> None:
        """Fill a range of whole blocks with zeroes. `unmap` allows the disk to free its storage.

        Errors: as `discard`.
        """
        self.check_writable()
        if not self.write_zeroes_size_max:
            raise BlockUnsupported(f"{self.name} has no write-zeroes")
        kind = RequestType.VIRTIO_BLK_T_WRITE_ZEROES
        flags = WRITE_ZEROES_FLAG_UNMAP if unmap and self.may_unmap else 0
        await self._change_range(offset, length, kind, self.write_zeroes_size_max, flags)

    async def settle(self) -> None:
        """Wait until every change that has begun has ended, also those of cancelled callers."""
        while self._order.changes:
            await asyncio.wait(self._order.changes)

    def _change(self, change: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Carry a change out in a task of its own, which no caller cancels.

        A change that has begun ends whole, and its blocks stay held until the device has ended all
        of its requests: otherwise one that is still in flight could overtake the next writer.
        """
        task = asyncio.create_task(change)
        self._order.changes.add(task)
        task.add_done_callback(self._changed)
        return task

    def _changed(self, task: asyncio.Task[None]) -> None:
        """Forget a change. If its caller is gone, nobody needs to hear of its error."""
        self._order.changes.discard(task)
        if not task.cancelled():
            task.exception()

    async def _write(
        self, offset: int, view: memoryview, place: Place | None, *, bulk: bool
    ) -> None:
        """Write a range. Of blocks that are written in part, the rest is read first."""
        if not view:
            return
        first, end = self._blocks_around(offset, len(view))
        async with self._order.ranges.hold(first, end):
            edges = await self._merge_edges(offset, view) if end - first > len(view) else {}
            await self.run(self._write_requests(offset, view, edges, place), bulk=bulk)

    async def _merge_edges(self, offset: int, view: memoryview) -> dict[int, memoryview]:
        """Return the blocks that a write covers in part, as they will be, by their offset."""
        size, end = self.block_size, offset + len(view)
        edges = {at - at % size: memoryview(bytearray(size)) for at in (offset, end) if at % size}
        await self.run(BlkReq(IN, at // SECTOR, into=block) for at, block in edges.items())
        for at, block in edges.items():
            start, stop = max(at, offset), min(at + size, end)
            block[start - at : stop - at] = view[start - offset : stop - offset]
        return edges

    def _write_requests(
        self,
        offset: int,
        view: memoryview,
        edges: dict[int, memoryview],
        place: Place | None,
    ) -> Iterator[BlkReq]:
        """Make the requests of a write: the blocks at its edges, and the whole ones between."""
        for at, block in edges.items():
            yield BlkReq(OUT, at // SECTOR, out=block)
        first = offset + -offset % self.block_size
        end = offset + len(view)
        for start, stop in split(first, end - end % self.block_size, self.request_size_max):
            yield BlkReq(
                OUT,
                start // SECTOR,
                out=view[start - offset : stop - offset],
                place=place and place.behind(start - offset),
            )

    async def _change_range(
        self, offset: int, length: int, kind: RequestType, size_max: int, flags: int = 0
    ) -> None:
        """Discard or zero a range of whole blocks, at most `size_max` bytes at a time."""
        self._check_blocks(offset, length)
        requests = (
            range_request(kind, start // SECTOR, (stop - start) // SECTOR, flags)
            for start, stop in split(offset, offset + length, size_max)
        )

        async def change() -> None:
            async with self._order.ranges.hold(offset, offset + length):
                await self.run(requests)

        await asyncio.shield(self._change(change()))

    def _sector(self, block_id: int) -> int:
        """Return the sector of a block: the protocol counts 512 bytes, whatever the block size."""
        return block_id * (self.block_size // SECTOR)

    def _blocks_around(self, offset: int, length: int) -> tuple[int, int]:
        """Return the range of the blocks that a range touches."""
        end = offset + length
        return offset - offset % self.block_size, end + -end % self.block_size

    def check_range(self, offset: int, length: int) -> None:
        """Refuse a range that is not on the disk. Errors: PastEnd."""
        if offset < 0 or length < 0 or offset + length > self.capacity:
            raise PastEnd(
                f"{self.name} ends at byte {self.capacity}:"
                f" {length} bytes at offset {offset} are not on it",
                capacity_bytes=self.capacity,
            )

    def _check_blocks(self, offset: int, length: int) -> None:
        """Refuse a range that is not on the disk, or not made of whole blocks."""
        self.check_range(offset, length)
        if offset % self.block_size or length % self.block_size:
            raise Unaligned(
                f"offset {offset} and length {length} must be multiples of the block size,"
                f" {self.block_size} bytes",
                block_size_bytes=self.block_size,
            )

    def check_writable(self) -> None:
        """Refuse to change a read-only disk."""
        if self.read_only:
            raise BlockReadOnly(f"{self.name} is read-only")


def split(start: int, end: int, size: int) -> Iterator[tuple[int, int]]:
    """Split a range into pieces of at most `size`: (start, end) of each."""
    for piece in range(start, end, size):
        yield piece, min(piece + size, end)
