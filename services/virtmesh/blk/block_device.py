"""Block devices: whole blocks, as a driver moves them, and any range of bytes on top of that.

A driver implements the block methods; `BlockDevice` adds the ranged ones. They split what is larger
than one request, keep several requests in flight, and read and rewrite blocks that are written in
part, under a lock, so that concurrent writers of neighbouring bytes never undo one another.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Any

from virtmesh.blk.range_lock import RangeLock
from virtmesh.drivers.bounded_gather import bounded_gather
from virtmesh_common.blk.errors import BlockReadOnly, BlockUnsupported, PastEnd, Unaligned

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from virtmesh.drivers.bounded_gather import Piece

WINDOW = 16
"""Most requests in flight for one call."""


class BlockDevice(ABC):
    """A disk. Sizes and offsets are in bytes; block numbers count blocks of `block_size`."""

    name: str
    """Name of the device, for people."""
    capacity: int
    """Size of the disk; a resize changes it."""
    block_size: int
    """Size of a block."""
    request_size_max: int
    """Most bytes that one request moves; a multiple of the block size."""
    discard_size_max: int
    """Most bytes that one discard takes; 0 when the disk has no discard."""
    write_zeroes_size_max: int
    """Most bytes that one write-zeroes takes; 0 when the disk has none."""
    read_only: bool
    """True when writes are refused."""
    write_back: bool
    """True when completed writes are volatile until a flush."""
    serial: str
    """Identification; may be empty."""

    def __init__(self) -> None:
        self._ranges = RangeLock()
        self._writing: set[asyncio.Task[None]] = set()

    @property
    @abstractmethod
    def features(self) -> list[str]:
        """Names of the features in use, ascending by bit."""

    @property
    @abstractmethod
    def queue_count(self) -> int:
        """Queues in use."""

    @abstractmethod
    async def read_block(self, block_id: int, buf: memoryview | bytearray) -> None:
        """Read consecutive blocks into a buffer of whole blocks, at most one request's worth.

        Errors: BlockIOError; DeviceLost, DeviceNeedsReset and RingCorrupt when the device fails.
        """

    @abstractmethod
    async def write_block(self, block_id: int, buf: memoryview | bytes | bytearray) -> None:
        """Write consecutive blocks from a buffer of whole blocks, at most one request's worth.

        Errors: as `read_block`.
        """

    @abstractmethod
    async def discard_block(self, block_id: int, count: int) -> None:
        """Give blocks up, at most `discard_size_max` bytes. Errors: as `read_block`."""

    @abstractmethod
    async def zero_block(self, block_id: int, count: int, *, unmap: bool) -> None:
        """Zero blocks, at most `write_zeroes_size_max` bytes. Errors: as `read_block`."""

    @abstractmethod
    async def flush(self) -> None:
        """Make every completed write durable. Errors: as `read_block`."""

    @abstractmethod
    def handle_irq(self, status: int) -> bool:
        """Handle an interrupt: complete what the device is through with, wake who waits for it.

        `status` is the bits of InterruptStatus; returns False when nothing was to be done.
        """

    async def read(self, offset: int, length: int) -> memoryview:
        """Read a range. Errors: PastEnd; as `read_block`."""
        self.check_range(offset, length)
        first, end = self._blocks_around(offset, length)
        buffer = memoryview(bytearray(end - first))
        await bounded_gather(
            (
                partial(self.read_block, (first + start) // self.block_size, buffer[start:stop])
                for start, stop in split(0, end - first, self.request_size_max)
            ),
            WINDOW,
        )
        return buffer[offset - first : offset - first + length]

    async def write(self, offset: int, data: memoryview | bytes | bytearray) -> None:
        """Write a range. Once begun, it goes on to its end even if the caller is cancelled.

        Errors: BlockReadOnly; PastEnd; as `read_block`. After an error a part may be written.
        """
        self._check_writable()
        view = memoryview(data).cast("B")
        self.check_range(offset, len(view))
        await self._finish(self._write(offset, view))

    async def discard(self, offset: int, length: int) -> None:
        """Give a range of whole blocks up; what it reads as afterwards is open.

        Errors: BlockReadOnly; BlockUnsupported; Unaligned; PastEnd; as `read_block`.
        """
        self._check_writable()
        if not self.discard_size_max:
            raise BlockUnsupported(f"{self.name} has no discard")
        self._check_blocks(offset, length)
        await self._each(offset, length, self.discard_size_max, self.discard_block)

    async def write_zeroes(self, offset: int, length: int, *, unmap: bool) -> None:
        """Fill a range of whole blocks with zeroes; with `unmap` its storage may be given up.

        Errors: as `discard`.
        """
        self._check_writable()
        if not self.write_zeroes_size_max:
            raise BlockUnsupported(f"{self.name} has no write-zeroes")
        self._check_blocks(offset, length)
        zero = partial(self.zero_block, unmap=unmap)
        await self._each(offset, length, self.write_zeroes_size_max, zero)

    async def settle(self) -> None:
        """Wait until the writes of cancelled callers are through."""
        while self._writing:
            await asyncio.wait(self._writing)

    async def _each(
        self,
        offset: int,
        length: int,
        size_max: int,
        change: Callable[[int, int], Coroutine[Any, Any, None]],
    ) -> None:
        """Change a range of whole blocks piece by piece: first block and count of each."""
        size = self.block_size
        pieces = (
            partial(change, start // size, (stop - start) // size)
            for start, stop in split(offset, offset + length, size_max)
        )
        await self._finish(self._in_turn(pieces, offset, offset + length))

    async def _write(self, offset: int, view: memoryview) -> None:
        """Write a range, its partial blocks by reading and rewriting them."""
        first, end = self._blocks_around(offset, len(view))
        await self._in_turn(self._write_pieces(offset, view), first, end)

    def _write_pieces(self, offset: int, view: memoryview) -> Iterator[Piece]:
        """Make the pieces of a write: a partial block, whole blocks, a partial block."""
        end = offset + len(view)
        position = offset
        while position < end:
            behind = position % self.block_size
            if behind or end - position < self.block_size:
                stop = min(end, position - behind + self.block_size)
                yield partial(self._rewrite, position, view[position - offset : stop - offset])
            else:
                whole = end - end % self.block_size
                stop = min(whole, position + self.request_size_max)
                yield partial(
                    self.write_block,
                    position // self.block_size,
                    view[position - offset : stop - offset],
                )
            position = stop

    async def _rewrite(self, offset: int, part: memoryview) -> None:
        """Change a part of one block; the caller holds the block."""
        block_id, behind = divmod(offset, self.block_size)
        block = bytearray(self.block_size)
        await self.read_block(block_id, block)
        block[behind : behind + len(part)] = part
        await self.write_block(block_id, block)

    async def _in_turn(self, pieces: Iterator[Piece], start: int, end: int) -> None:
        """Run the pieces of a change while holding its blocks."""
        async with self._ranges.hold(start, end):
            await bounded_gather(pieces, WINDOW)

    async def _finish(self, change: Coroutine[Any, Any, None]) -> None:
        """Run a change to its end, whatever becomes of the caller.

        Its blocks stay held until the device is through with them: otherwise the next writer could
        be overtaken by a request that is still on its way.
        """
        task = asyncio.create_task(change)
        self._writing.add(task)
        task.add_done_callback(self._finished)
        await asyncio.shield(task)

    def _finished(self, task: asyncio.Task[None]) -> None:
        """Forget a change; its error, if nobody waits for it any more, is nobody's."""
        self._writing.discard(task)
        if not task.cancelled():
            task.exception()

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

    def _check_writable(self) -> None:
        """Refuse to change a read-only disk."""
        if self.read_only:
            raise BlockReadOnly(f"{self.name} is read-only")


def split(start: int, end: int, size: int) -> Iterator[tuple[int, int]]:
    """Split a range into pieces of at most `size`: (start, end) of each."""
    for piece in range(start, end, size):
        yield piece, min(piece + size, end)
