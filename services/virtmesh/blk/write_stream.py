"""One write of a disk as a stream, with room for a message before one is asked for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from virtmesh.rpc.budgets import account
from virtmesh_common.api.kernel.v1 import block_device_pb2 as pb
from virtmesh_common.errors import BadStream, MessageTooLarge, VirtmeshError
from virtmesh_common.sizes import CHUNK_LIMIT_BYTES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from virtmesh.blk.block_device import BlockDevice
    from virtmesh.blk.data_room import DataRoom, Share
    from virtmesh_common.errors import LimitReached

WRITE_AHEAD = 4
"""Most messages of one write that are taken from the client and not written yet."""
SHORT = 64 << 10
"""A write up to this size is short: it does not wait for pieces of long ones."""


class WriteStream:
    """Writes the messages of one stream, from `offset` on, and reports after each.

    One task takes messages and begins their writes. `run` reports their ends, in order. When the
    call is cancelled or fails, no more messages are taken; a write that has begun ends whole.
    """

    def __init__(
        self, disk: BlockDevice, room: DataRoom, share: Share, offset: int, context: Any
    ) -> None:
        self.written = 0
        """Bytes written without gaps."""
        self._disk = disk
        self._room = room
        self._share = share
        share.end = self._end
        self._offset = offset
        self._context = context
        self._begun: asyncio.Queue[tuple[int, asyncio.Task[None]] | None] = asyncio.Queue()
        self._writing: set[asyncio.Task[None]] = set()
        self._places = asyncio.Semaphore(WRITE_AHEAD)
        self._taking: asyncio.Task[None] | None = None
        self._ended: LimitReached | None = None

    async def run(self, messages: AsyncIterator[pb.WriteRequest]) -> None:
        """Write everything that comes.

        Errors: of the disk, BadStream, MessageTooLarge and LimitReached, with "written_bytes" in
        the metadata.
        """
        taking = self._taking = asyncio.create_task(self._take(messages))
        try:
            await self._report_all()
            await taking
        except VirtmeshError as error:
            failed = error.again()
            failed.metadata["written_bytes"] = str(self.written)
            raise failed from error
        finally:
            self._share.end = None
            taking.cancel()
            await self._writes_ended(taking)

    def _end(self, error: LimitReached) -> None:
        """End the stream: its client sends nothing, and others wait for its room."""
        self._ended = error
        if self._taking is not None:
            self._taking.cancel()

    async def _take(self, messages: AsyncIterator[pb.WriteRequest]) -> None:
        """Begin a write for each message, as far as there is room; None ends the queue."""
        try:
            await self._take_all(messages)
        except asyncio.CancelledError:
            if self._ended is None:
                raise
            raise self._ended from None
        finally:
            self._begun.put_nowait(None)

    async def _take_all(self, messages: AsyncIterator[pb.WriteRequest]) -> None:
        """Begin a write for each message."""
        offset = self._offset
        mine = account()
        arriving = aiter(messages)
        while (message := await self._next(arriving)) is not None:
            if message.WhichOneof("content") != "data":
                raise BadStream("only the first message of a write may be a header")
            data = message.data  # Each access makes a copy.
            size = len(data)
            if size > CHUNK_LIMIT_BYTES:
                raise MessageTooLarge(
                    f"{size} bytes in one message: send at most {CHUNK_LIMIT_BYTES}"
                )
            bulk = offset - self._offset + size > SHORT
            if bulk:
                await mine.turn()
            writing = self._disk.begin_write(offset, data, bulk=bulk)
            del data, message
            offset += size
            self._room.resize(self._share, self._share.held - CHUNK_LIMIT_BYTES + size)
            self._writing.add(writing)
            writing.add_done_callback(self._writing.discard)
            writing.add_done_callback(lambda _, size=size: self._give(size))  # type: ignore[misc]
            self._begun.put_nowait((size, writing))

    async def _next(self, messages: AsyncIterator[pb.WriteRequest]) -> pb.WriteRequest | None:
        """Wait for room, then for the next message; None at the end."""
        await self._places.acquire()
        await self._room.wait(self._share, CHUNK_LIMIT_BYTES)
        self._share.idle_since = asyncio.get_running_loop().time()
        try:
            return await anext(messages, None)
        finally:
            self._share.idle_since = None

    def _give(self, size: int) -> None:
        """Give the room of a message back."""
        self._room.resize(self._share, max(0, self._share.held - size))

    async def _report_all(self) -> None:
        """Report the end of each write; an empty stream gets one report as well."""
        begun = await self._begun.get()
        if begun is None and self._ended is None:
            await self._report()
        while begun is not None:
            size, writing = begun
            await asyncio.shield(writing)
            self._places.release()
            self.written += size
            await self._report()
            begun = await self._begun.get()

    async def _writes_ended(self, taking: asyncio.Task[None]) -> None:
        """Wait for the writes that have begun. Cancelling this wait cancels none of them.

        `asyncio.gather` would pass the cancellation on: the ranges of a write would be free while
        the device still has its requests.
        """
        ended, _ = await asyncio.wait({taking, *self._writing})
        for task in ended:
            if not task.cancelled():
                task.exception()  # It is reported already, or follows from one that is.

    async def _report(self) -> None:
        """Tell the client how far the write is."""
        await self._context.write(pb.WriteResponse(written_bytes=self.written))
