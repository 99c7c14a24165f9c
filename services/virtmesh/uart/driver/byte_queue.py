"""A bounded queue of bytes, whose changes can be awaited."""

from __future__ import annotations

import asyncio


class ByteQueue:
    """A queue of at most `limit` bytes, first in, first out. For use on one event loop.

    A waiter checks its condition in a loop and calls `changed` while the condition is false. Every
    change wakes all waiters, in the order in which they began to wait.
    """

    def __init__(self, limit: int) -> None:
        if limit < 1:
            raise ValueError(f"a queue can't have a limit of {limit} bytes: use 1 or more")
        self.limit = limit
        self._bytes = bytearray()
        self._waiting: dict[asyncio.Future[None], None] = {}

    def __len__(self) -> int:
        return len(self._bytes)

    @property
    def room(self) -> int:
        """Free room, in bytes."""
        return self.limit - len(self._bytes)

    def put(self, data: bytes | bytearray | memoryview) -> int:
        """Append as many bytes as there is room for; return their number."""
        taken = min(len(data), self.room)
        if taken:
            self._bytes += data[:taken]
            self.wake()
        return taken

    def peek(self, limit: int) -> bytes:
        """Return the first bytes, at most `limit`, without removing them."""
        return bytes(self._bytes[:limit])

    def drop(self, count: int) -> None:
        """Remove the first `count` bytes."""
        if count:
            del self._bytes[:count]
            self.wake()

    def get(self, limit: int) -> bytes:
        """Remove and return the first bytes, at most `limit`. Returns b"" if the queue is empty."""
        data = self.peek(limit)
        self.drop(len(data))
        return data

    async def changed(self) -> None:
        """Wait until the content changes, or until `wake` is called."""
        news: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[news] = None
        try:
            await news
        finally:
            del self._waiting[news]

    def wake(self) -> None:
        """Wake all waiters."""
        for news in self._waiting:
            if not news.done():
                news.set_result(None)
