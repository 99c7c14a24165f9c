"""What must be on a part of a disk: each sector says whose it is, which one, and which version.

A write that failed, or whose answer never came, leaves sectors of which two versions are right.
A read settles which one it is; from then on only that is right.
"""

from __future__ import annotations

import hashlib
import struct

SECTOR = 512
HEAD = struct.Struct("<8sQQQ")
MAGIC = b"vm-soak1"
ZEROES = 0
"""The version of a sector of zeroes, as a new disk has them."""
ANYTHING = -1
"""The version of a sector that was discarded: nobody promises what is there."""


def content(seed: int, sector: int, version: int) -> bytes:
    """Return the 512 bytes of a version of a sector."""
    if version == ZEROES:
        return bytes(SECTOR)
    head = HEAD.pack(MAGIC, seed, sector, version)
    return head + hashlib.shake_128(head).digest(SECTOR - HEAD.size)


def spell(data: bytes) -> str:
    """Say what a sector seems to be."""
    if data == bytes(SECTOR):
        return "zeroes"
    magic, seed, sector, version = HEAD.unpack(data[: HEAD.size])
    if magic != MAGIC:
        return f"no sector of ours: {data[:16].hex()}..."
    whole = "" if data == content(seed, sector, version) else ", torn"
    return f"version {version} of sector {sector}, seed {seed}{whole}"


class Sectors:
    """A run of sectors that one client alone writes."""

    def __init__(self, seed: int, first: int, count: int) -> None:
        self.seed = seed
        self.first = first
        self.count = count
        self._version = 0
        self._may: list[tuple[int, ...]] = [(ZEROES,)] * count

    def make(self, at: int, count: int) -> tuple[int, bytes]:
        """Return a new version, and its bytes for `count` sectors from the `at`th on."""
        self._version += 1
        sectors = range(self.first + at, self.first + at + count)
        return self._version, b"".join(content(self.seed, one, self._version) for one in sectors)

    def wrote(self, at: int, count: int, version: int) -> None:
        """Note that a version is there."""
        self._may[at : at + count] = [(version,)] * count

    def may_have_written(self, at: int, count: int, version: int) -> None:
        """Note that a version may be there, sector by sector."""
        for index in range(at, at + count):
            self._may[index] = (*self._may[index], version)

    def check(self, at: int, data: bytes) -> list[str]:
        """Compare what was read from the `at`th sector on; return what is wrong, a line each."""
        wrong = []
        for offset in range(0, len(data), SECTOR):
            index = at + offset // SECTOR
            found = data[offset : offset + SECTOR]
            number, may = self.first + index, self._may[index]
            if ANYTHING in may:
                continue
            right = [one for one in may if content(self.seed, number, one) == found]
            if right:
                self._may[index] = (right[0],)
            else:
                wrong.append(f"sector {number} is {spell(found)}, not version {may}")
        return wrong
