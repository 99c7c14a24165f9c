"""A bounded queue of bytes, and a way to wait until it has changed."""

from __future__ import annotations

import asyncio


class ByteQueue:
    """At most `limit` bytes, first in, first out. Runs on one event loop.

    Whoever waits looks at what it waits for, calls `changed` while that is not so, and looks again:
    there is one kind of news for all of them, and who waits longest looks first.
    """

    def __init__(self, limit: int) -> None:
        if limit < 1:
            raise ValueError(f"a queue of {limit} bytes holds nothing: give it 1 or more")
        self.limit = limit
        self._bytes = bytearray()
        self._waiting: dict[asyncio.Future[None], None] = {}

    def __len__(self) -> int:
        return len(self._bytes)

    @property
    def room(self) -> int:
        """Bytes that it takes now."""
        return self.limit - len(self._bytes)

    def put(self, data: bytes | bytearray | memoryview) -> int:
        """Append as much as there is room for; return how many bytes that was."""
        taken = min(len(data), self.room)
        if taken:
            self._bytes += data[:taken]
            self.wake()
        return taken

    def peek(self, limit: int) -> bytes:
        """Return the first bytes, at most `limit`, and leave them."""
        return bytes(self._bytes[:limit])

    def drop(self, count: int) -> None:
        """Take the first bytes away."""
        if count:
            del self._bytes[:count]
            self.wake()

    def get(self, limit: int) -> bytes:
        """Take the first bytes, at most `limit`; none when there are none."""
        data = self.peek(limit)
        self.drop(len(data))
        return data

    async def changed(self) -> None:
        """Wait until something was put in or taken out, or `wake` was called."""
        news: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[news] = None
        try:
            await news
        finally:
            del self._waiting[news]

    def wake(self) -> None:
        """Let everyone who waits look again."""
        for news in self._waiting:
            if not news.done():
                news.set_result(None)
