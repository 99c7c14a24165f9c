"""Writes of one call, in their order: begun as room and data come, reported as they end."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from virtmesh_common.errors import VirtmeshError

if TYPE_CHECKING:
    from collections.abc import Callable

    from virtmesh.blk.block_device import BlockDevice
    from virtmesh.blk.data_room import DataRoom, Share
    from virtmesh.blk.request import Place
    from virtmesh_common.errors import LimitReached

WRITE_AHEAD = 4
"""Most pieces of one write that are taken from the client and not written yet."""
SHORT = 64 << 10
"""A write up to this size is short: it does not wait for pieces of long ones."""


class OrderedWrite(ABC):
    """Writes pieces from `offset` on, and reports after each.

    One task takes pieces and begins their writes. `run` reports their ends, in order. When the
    call is cancelled or fails, no more pieces are taken; a write that has begun ends whole.
    """

    def __init__(self, disk: BlockDevice, room: DataRoom, share: Share, offset: int) -> None:
        self.written = 0
        """Bytes written without gaps."""
        self._disk = disk
        self._room = room
        self._share = share
        share.end = self._end
        self._offset = offset
        self._begun: asyncio.Queue[tuple[int, asyncio.Task[None]] | None] = asyncio.Queue()
        self._writing: set[asyncio.Task[None]] = set()
        self._places = asyncio.Semaphore(WRITE_AHEAD)
        self._taking: asyncio.Task[None] | None = None
        self._ended: LimitReached | None = None

    @abstractmethod
    async def take_all(self) -> None:
        """Take the pieces, each with a place of `_places`, and begin their writes."""

    @abstractmethod
    async def report(self, *, last: bool) -> None:
        """Tell the client how far the write is; `last`: that is all of it."""

    async def run(self) -> None:
        """Write everything that comes.

        Errors: of the disk, of `take_all`, and LimitReached, with "written_bytes" in the metadata.
        """
        taking = self._taking = asyncio.create_task(self._take())
        try:
            await self._report_all()
            await taking
            await self.report(last=True)
        except VirtmeshError as error:
            failed = error.again()
            failed.metadata["written_bytes"] = str(self.written)
            raise failed from error
        finally:
            self._share.end = None
            taking.cancel()
            await self._writes_ended(taking)

    def begin(
        self,
        offset: int,
        data: memoryview | bytes,
        place: Place | None,
        ended: Callable[[object], None],
    ) -> None:
        """Begin the write of the next piece. `ended` is called when its data is not needed more.

        Errors: PastEnd; BlockReadOnly; `ended` is called then as well.
        """
        size = len(data)
        try:
            writing = self._disk.begin_write(
                offset, data, bulk=offset - self._offset + size > SHORT, place=place
            )
        except BaseException:
            ended(None)
            raise
        self._writing.add(writing)
        writing.add_done_callback(self._writing.discard)
        writing.add_done_callback(ended)
        self._begun.put_nowait((size, writing))

    def _end(self, error: LimitReached) -> None:
        """End the write: its data does not come, and others wait for its room."""
        self._ended = error
        if self._taking is not None:
            self._taking.cancel()

    async def _take(self) -> None:
        """Begin a write for each piece, as far as there is room; None ends the queue."""
        try:
            await self.take_all()
        except asyncio.CancelledError:
            if self._ended is None:
                raise
            raise self._ended from None
        finally:
            self._begun.put_nowait(None)

    async def _report_all(self) -> None:
        """Report the end of each write."""
        while (begun := await self._begun.get()) is not None:
            size, writing = begun
            await asyncio.shield(writing)
            self._places.release()
            self.written += size
            await self.report(last=False)

    async def _writes_ended(self, taking: asyncio.Task[None]) -> None:
        """Wait for the writes that have begun. Cancelling this wait cancels none of them.

        `asyncio.gather` would pass the cancellation on: the ranges of a write would be free while
        the device still has its requests.
        """
        ended, _ = await asyncio.wait({taking, *self._writing})
        for task in ended:
            if not task.cancelled():
                task.exception()  # It is reported already, or follows from one that is.
