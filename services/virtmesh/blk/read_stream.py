"""One read of a disk as a stream: it begins small, and reads ahead as its client takes more.

A client that takes nothing holds FLOOR bytes and one small message. The window doubles with each
message that gRPC has taken, up to the stream's fair part of the room and WINDOW_MAX. A quarter of
the window is one message, which exists three times while it is sent: as a message, encoded, and in
gRPC.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from virtmesh.rpc.budgets import account
from virtmesh_common.api.kernel.v1 import block_device_pb2 as pb

if TYPE_CHECKING:
    from virtmesh.blk.block_device import BlockDevice
    from virtmesh.blk.data_room import DataRoom, Share

FLOOR = 32 << 10
"""The first window, in bytes; every stream may have it."""
WINDOW_MAX = 2 << 20
"""The largest window: four messages, large enough that the work for each message fades."""
MESSAGES = 4
"""Messages of a window."""
COPIES = 3
"""Copies of the message that is being sent."""


def cost(window: int) -> int:
    """Return the memory that a stream with a window takes, in bytes."""
    return window + COPIES * (window // MESSAGES)


class ReadStream:
    """Sends a range."""

    def __init__(self, disk: BlockDevice, room: DataRoom, share: Share, context: Any) -> None:
        self._disk = disk
        self._room = room
        self._share = share
        self._context = context
        self._window = FLOOR
        self._ahead: deque[tuple[int, asyncio.Task[memoryview]]] = deque()
        """Pieces that the disk reads, or that wait for the client: their sizes, and their data."""

    async def run(self, start: int, length: int) -> None:
        """Send a range. Errors: PastEnd; of the disk."""
        self._disk.check_range(start, length)
        self._room.resize(self._share, min(cost(FLOOR), COPIES * length))
        begin, end = start, start + length
        mine = account()
        try:
            while True:
                if begin < start < end:  # Only what is long waits for turns.
                    await mine.turn()
                start = self._read_ahead(start, end, bulk=start > begin)
                if not self._ahead:
                    return
                data = await self._ahead[0][1]
                self._ahead.popleft()
                await self._context.write(pb.ReadResponse(data=bytes(data)))
                del data
                if start < end:
                    self._adjust()
        finally:
            for _, reading in self._ahead:
                reading.cancel()
            await asyncio.gather(*(one for _, one in self._ahead), return_exceptions=True)

    def _read_ahead(self, start: int, end: int, *, bulk: bool) -> int:
        """Begin to read from `start` on, as far as the window goes; return where that is."""
        waiting = sum(size for size, _ in self._ahead)
        piece = self._window // MESSAGES
        most = self._window if bulk else piece
        while start < end and (waiting + piece <= most or not self._ahead):
            size = min(piece, end - start)
            reading = self._disk.read(start, size, bulk=bulk)
            self._ahead.append((size, asyncio.create_task(reading)))
            start += size
            waiting += size
        return start

    def _adjust(self) -> None:
        """Let the window grow, or shrink to what is fair."""
        wanted = min(2 * self._window, WINDOW_MAX)
        while wanted > FLOOR and cost(wanted) > self._room.fair():
            wanted //= 2
        if wanted != self._window and self._room.grow(self._share, cost(wanted)):
            self._window = wanted
