"""Which write each sector of a disk comes from: so that states which are the same are found."""

from __future__ import annotations

import os
from bisect import bisect_left, bisect_right
from hashlib import blake2b
from typing import TYPE_CHECKING

from virtmesh_client.powerloss.log import SECTOR

if TYPE_CHECKING:
    from collections.abc import Iterable

    from virtmesh_client.powerloss.log import Write
    from virtmesh_client.powerloss.windows import Piece, Range

CHUNK = 1 << 20
MASK = (1 << 128) - 1
Source = tuple[bytes, int]
"""The digest of a write's data, and the sector where that begins; of zeroes, no sector."""


class Data:
    """The data of writes, from the log."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._digests: dict[int, Source] = {}

    def read(self, write: Write, start: int, end: int) -> bytes:
        """Return sectors of a write with data. Errors: OSError if the log has become shorter."""
        place = (write.place or 0) + (start - write.sector) * SECTOR
        data = os.pread(self._descriptor, (end - start) * SECTOR, place)
        if len(data) < (end - start) * SECTOR:
            raise OSError("the log of writes has become shorter while it was read")
        return data

    def source(self, write: Write) -> Source:
        """Say what a write has: the same for writes of the same data at the same place."""
        found = self._digests.get(write.number)
        if found is None:
            if write.place is None:
                found = (b"zeroes", 0)
            else:
                digest = blake2b(digest_size=16)
                for start in range(write.sector, write.end, CHUNK // SECTOR):
                    end = min(start + CHUNK // SECTOR, write.end)
                    digest.update(self.read(write, start, end))
                found = (digest.digest(), write.sector)
            self._digests[write.number] = found
        return found


class Sources:
    """Spans of sectors and where they come from, and a number that stands for all of it."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._sources: list[Source] = []
        self.identity = 0

    def add(self, pieces: Iterable[Piece], data: Data) -> None:
        """Put pieces on top, one after the other."""
        for piece in pieces:
            source = data.source(piece.write)
            for one in piece.ranges:
                self.put(one, source)

    def put(self, place: Range, source: Source) -> None:
        """Put one range on top."""
        start, end = place
        first = bisect_right(self._ends, start)
        last = bisect_left(self._starts, end)
        parts: list[tuple[int, int, Source]] = []
        for index in range(first, last):
            old = (self._starts[index], self._ends[index], self._sources[index])
            self.identity -= _term(*old)
            if old[0] < start:
                parts.append((old[0], start, old[2]))
            if old[1] > end:
                parts.append((end, old[1], old[2]))
        parts.append((start, end, source))
        parts.sort(key=lambda one: one[0])
        self._starts[first:last] = [one[0] for one in parts]
        self._ends[first:last] = [one[1] for one in parts]
        self._sources[first:last] = [one[2] for one in parts]
        self.identity = (self.identity + sum(_term(*one) for one in parts)) & MASK

    def with_pieces(self, pieces: Iterable[Piece], data: Data) -> int:
        """Return the number that it would have with pieces on top."""
        top = Sources()
        top.add(pieces, data)
        identity = self.identity
        below = Sources()
        seen: set[int] = set()
        for start, end in zip(top._starts, top._ends, strict=True):
            for index in range(bisect_right(self._ends, start), bisect_left(self._starts, end)):
                if index not in seen:
                    seen.add(index)
                    old = (self._starts[index], self._ends[index], self._sources[index])
                    identity -= _term(*old)
                    below.put(old[:2], old[2])
        for start, end, source in zip(top._starts, top._ends, top._sources, strict=True):
            below.put((start, end), source)
        return (identity + below.identity) & MASK


def _term(start: int, end: int, source: Source) -> int:
    """Return what a span adds to the number."""
    digest = blake2b(b"%d %d %d %s" % (start, end, source[1], source[0]), digest_size=16)
    return int.from_bytes(digest.digest(), "little")
