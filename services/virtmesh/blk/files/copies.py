"""Copies between a disk and a file of a client, through a window of guest memory.

The thread of the file fills a piece, or empties it, while the device has the others. A file that
does not answer holds a share of the room for data like a client that does not send: it loses the
room when others wait for it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Any

from virtmesh.blk.files.window import Window
from virtmesh.blk.ordered_write import WRITE_AHEAD, OrderedWrite
from virtmesh.rpc.budgets import account
from virtmesh_common.api.kernel.v1 import block_device_pb2 as pb
from virtmesh_common.errors import VirtmeshError

if TYPE_CHECKING:
    from virtmesh.blk.block_device import BlockDevice
    from virtmesh.blk.data_room import DataRoom, Share
    from virtmesh.blk.files.thread import FileThread
    from virtmesh.blk.files.window import Piece
    from virtmesh_common.errors import LimitReached

PIECE_MAX, PIECE_MIN = 1 << 20, 64 << 10
"""Largest and smallest piece of a window, in bytes: a multiple of every block size."""
PIECES = WRITE_AHEAD
"""Pieces of a window: the file has one, the device the others."""
REPORT_S = 0.05
"""Between two reports of progress: each costs what a short call costs."""


async def open_window(disk: BlockDevice, room: DataRoom, share: Share) -> Window:
    """Make a window as large as is fair; the least one waits for its room."""
    size = PIECE_MAX
    while size > PIECE_MIN:
        if PIECES * size <= room.fair() and room.grow(share, PIECES * size):
            return Window(disk.guest_memory, PIECES, size)
        size //= 2
    await room.wait(share, PIECES * size)
    return Window(disk.guest_memory, PIECES, size)


def cut(start: int, end: int, size: int) -> int:
    """Return the size of the next piece of a range: all but the first begin at multiples of it."""
    return min(size - start % size, end - start)


class FileImport(OrderedWrite):
    """Writes a range from a file, from its byte `position` on."""

    def __init__(  # noqa: PLR0913, PLR0917 - what a copy is made of
        self,
        disk: BlockDevice,
        room: DataRoom,
        share: Share,
        request: pb.ImportRequest,
        file: FileThread,
        window: Window,
        context: Any,
    ) -> None:
        super().__init__(disk, room, share, request.offset_bytes)
        self._length = request.length_bytes
        self._position = request.file_offset_bytes
        self._file = file
        self._window = window
        self._context = context
        self._report_at = monotonic() + REPORT_S

    async def take_all(self) -> None:
        """Read the pieces, in turn, and begin their writes. Errors: FileFailed; of the disk."""
        offset, end = self._offset, self._offset + self._length
        pieces, mine = deque(self._window.pieces), account()
        size_max = len(pieces[0].view)
        while offset < end:
            await self._places.acquire()  # Of the first in line: its write has ended.
            await mine.turn()
            piece = pieces[0]
            pieces.rotate(-1)
            size = cut(offset, end, size_max)
            with self._share.idle():
                await self._file.read(piece.cut(size), self._position + offset - self._offset)
            # Until the device has given the piece back, whatever becomes of this call.
            self.begin(offset, piece.cut(size), piece.place, self._window.hold())
            offset += size

    async def report(self, *, last: bool) -> None:
        """Tell the client how far the write is, now and then."""
        now = monotonic()
        if last or now >= self._report_at:
            self._report_at = now + REPORT_S
            await self._context.write(pb.ImportResponse(written_bytes=self.written))


class FileExport:
    """Reads a range into a file, from its byte `file_offset_bytes` on."""

    def __init__(  # noqa: PLR0913, PLR0917 - what a copy is made of
        self,
        disk: BlockDevice,
        share: Share,
        request: pb.ExportRequest,
        file: FileThread,
        window: Window,
        context: Any,
    ) -> None:
        self.read = 0
        """Bytes that are in the file, without gaps."""
        self._disk = disk
        self._share = share
        share.end = self._end
        self._start = request.offset_bytes
        self._stop = request.offset_bytes + request.length_bytes
        self._position = request.file_offset_bytes
        self._file = file
        self._window = window
        self._context = context
        self._pieces = deque(window.pieces)
        self._ahead: deque[tuple[int, int, Piece, asyncio.Task[None]]] = deque()
        """Pieces that the disk reads, or that wait for the file: where, how much, into what."""
        self._copying: asyncio.Task[None] | None = None
        self._ended: LimitReached | None = None

    async def run(self) -> None:
        """Copy all of it. Errors: of the disk; FileFailed; LimitReached, with "read_bytes"."""
        copying = self._copying = asyncio.create_task(self._copy())
        try:
            await asyncio.shield(copying)
            await self._context.write(pb.ExportResponse(read_bytes=self.read))
        except asyncio.CancelledError:
            if self._ended is None or not copying.cancelled():
                raise
            raise self._say(self._ended) from None
        except VirtmeshError as error:
            raise self._say(error) from error
        finally:
            self._share.end = None
            copying.cancel()
            for *_, reading in self._ahead:
                reading.add_done_callback(forget)

    def _say(self, error: VirtmeshError) -> VirtmeshError:
        """Return an error that says how far the copy came."""
        failed = error.again()
        failed.metadata["read_bytes"] = str(self.read)
        return failed

    def _end(self, error: LimitReached) -> None:
        """End the copy: its file does not answer, and others wait for its room."""
        self._ended = error
        if self._copying is not None:
            self._copying.cancel()

    async def _copy(self) -> None:
        """Copy all of it."""
        offset, mine, report_at = self._start, account(), monotonic() + REPORT_S
        while True:
            await mine.turn()
            offset = self._read_ahead(offset)
            if not self._ahead:
                return
            at, size, piece, reading = self._ahead[0]
            await asyncio.shield(reading)
            self._ahead.popleft()
            data = piece.view[at % self._disk.block_size :][:size]
            with self._share.idle():
                await self._file.write(data, self._position + at - self._start)
            self._pieces.append(piece)
            self.read += size
            if monotonic() >= report_at:
                report_at = monotonic() + REPORT_S
                await self._context.write(pb.ExportResponse(read_bytes=self.read))

    def _read_ahead(self, offset: int) -> int:
        """Begin to read from `offset` on into all free pieces; return how far that is."""
        block = self._disk.block_size
        while self._pieces and offset < self._stop:
            piece = self._pieces.popleft()
            size = cut(offset, self._stop, len(piece.view))
            first = offset - offset % block
            end = offset + size
            into = piece.cut(end + -end % block - first)
            reading = asyncio.create_task(self._disk.read_blocks(first, into, piece.place))
            # The device writes there until it ends: it is never cancelled.
            reading.add_done_callback(self._window.hold())
            self._ahead.append((offset, size, piece, reading))
            offset += size
        return offset


def forget(reading: asyncio.Task[None]) -> None:
    """Take note of the end of a read that nobody waits for any more."""
    if not reading.cancelled():
        reading.exception()
