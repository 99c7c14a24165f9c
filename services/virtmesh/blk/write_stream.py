"""One write of a disk as a stream, with room for a message before one is asked for."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from virtmesh.blk.ordered_write import SHORT, OrderedWrite
from virtmesh.rpc.budgets import account
from virtmesh_common.api.kernel.v1 import block_device_pb2 as pb
from virtmesh_common.errors import BadStream, MessageTooLarge
from virtmesh_common.sizes import CHUNK_LIMIT_BYTES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from virtmesh.blk.block_device import BlockDevice
    from virtmesh.blk.data_room import DataRoom, Share


class WriteStream(OrderedWrite):
    """Writes the messages of one stream, from `offset` on, and reports after each."""

    def __init__(  # noqa: PLR0913, PLR0917 - what a stream is made of
        self,
        disk: BlockDevice,
        room: DataRoom,
        share: Share,
        offset: int,
        messages: AsyncIterator[pb.WriteRequest],
        context: Any,
    ) -> None:
        super().__init__(disk, room, share, offset)
        self._messages = aiter(messages)
        self._context = context
        self._reported = -1

    async def take_all(self) -> None:
        """Begin a write for each message. Errors: BadStream; MessageTooLarge; of the disk."""
        offset = self._offset
        mine = account()
        while (message := await self._next()) is not None:
            if message.WhichOneof("content") != "data":
                raise BadStream("only the first message of a write may be a header")
            data = message.data  # Each access makes a copy.
            size = len(data)
            if size > CHUNK_LIMIT_BYTES:
                raise MessageTooLarge(
                    f"{size} bytes in one message: send at most {CHUNK_LIMIT_BYTES}"
                )
            if offset - self._offset + size > SHORT:
                await mine.turn()
            self._room.resize(self._share, self._share.held - CHUNK_LIMIT_BYTES + size)
            self.begin(offset, data, None, partial(self._give, size))
            del data, message
            offset += size

    def _give(self, size: int, _: object) -> None:
        """Give the room of a message back."""
        self._room.resize(self._share, max(0, self._share.held - size))

    async def report(self, *, last: bool) -> None:
        """Tell the client how far the write is, once; an empty stream gets one report as well."""
        if not (last and self._reported == self.written):
            self._reported = self.written
            await self._context.write(pb.WriteResponse(written_bytes=self.written))

    async def _next(self) -> pb.WriteRequest | None:
        """Wait for room, then for the next message; None at the end."""
        await self._places.acquire()
        await self._room.wait(self._share, CHUNK_LIMIT_BYTES)
        with self._share.idle():
            return await anext(self._messages, None)
