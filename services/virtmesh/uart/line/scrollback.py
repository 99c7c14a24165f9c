"""The output that is kept: a ring of bytes, each with the offset at which the machine sent it.

The ring is somewhat larger than the scrollback. Who begins with the oldest byte while the machine
goes on sending would otherwise be behind before it has been sent anything.
"""

from __future__ import annotations

SCROLLBACK_BYTES = 1 << 20
"""Default size of a scrollback, in bytes."""
HEADROOM_BYTES = 256 << 10
"""What the ring holds beyond the scrollback, in bytes."""


class Scrollback:
    """The last `size` bytes of a stream of bytes. Offsets count from the first byte ever."""

    def __init__(self, size: int = SCROLLBACK_BYTES) -> None:
        self.size = size
        self.end = 0
        """Offset of the next byte."""
        self._begin = 0
        """Offset of the first byte that was ever kept here."""
        self._capacity = size + HEADROOM_BYTES
        # Pages of it are taken from the system as they are first written.
        self._ring = memoryview(bytearray(self._capacity))

    @property
    def first(self) -> int:
        """Offset of the oldest byte that is kept for those who come."""
        return max(self._begin, self.end - self.size)

    @property
    def last_chance(self) -> int:
        """Offset of the oldest byte that is still there for those who have begun."""
        return max(self._begin, self.end - self._capacity)

    def begin(self, offset: int) -> None:
        """Begin, empty, at an offset: somebody else has kept what came before."""
        self.end = self._begin = offset

    def append(self, data: bytes) -> None:
        """Keep more bytes, and forget the oldest of them."""
        start = self.end % self._capacity
        self.end += len(data)
        if start + len(data) <= self._capacity:
            self._ring[start : start + len(data)] = data
        else:
            self._wrap(data)

    def _wrap(self, data: bytes) -> None:
        """Keep bytes that go beyond the end of the ring."""
        kept = memoryview(data)[-self._capacity :]
        start = (self.end - len(kept)) % self._capacity
        head = min(len(kept), self._capacity - start)
        self._ring[start : start + head] = kept[:head]
        self._ring[: len(kept) - head] = kept[head:]

    def read(self, offset: int, limit: int) -> bytes:
        """Return bytes from an offset on, at most `limit`. Errors: IndexError: not there."""
        if not self.last_chance <= offset <= self.end:
            raise IndexError(f"{offset} is not from {self.last_chance} to {self.end}")
        start = offset % self._capacity
        length = min(limit, self.end - offset)
        head = bytes(self._ring[start : start + length])
        return head + self._ring[: length - len(head)] if len(head) < length else head
