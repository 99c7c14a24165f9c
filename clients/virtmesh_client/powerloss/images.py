"""Images of states: copies of the base that share its space if the file system can.

A worker has two: one with what is durable, and one for the checker. From one state to the next,
only what differs is written, unless a checker has changed its image: then that is copied anew.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from virtmesh_client.powerloss.log import SECTOR

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from virtmesh_client.powerloss.sources import Data
    from virtmesh_client.powerloss.windows import Piece, Range

FICLONE = 0x40049409
"""ioctl of linux/fs.h: the copy shares the data."""
CHUNK = 1 << 20
ZEROES = bytes(CHUNK)
UNTOUCHED_NS = 1_000_000_000
"""The time of change that an image has before the checker gets it: nobody else sets it."""


class Images:
    """The images of one worker, in a folder of its own."""

    def __init__(self, base: Path, folder: Path, capacity: int, data: Data) -> None:
        self._durable = folder / "durable.img"
        self.path = folder / "state.img"
        """The image that the checker gets."""
        self._data = data
        clone(base, self._durable, capacity)
        self._capacity = capacity
        self._patched: list[Range] | None = None
        """What differs in the checker's image; None if that is to be copied anew."""

    def settle(self, pieces: Iterable[Piece]) -> None:
        """Write what has become durable."""
        with self._durable.open("r+b", buffering=0) as image:
            for piece in pieces:
                self._write(image.fileno(), piece)
                if self._patched is not None:
                    self._patched += piece.ranges

    def make(self, pieces: Iterable[Piece]) -> None:
        """Make the image of a state."""
        if self._patched is None:
            clone(self._durable, self.path, self._capacity)
        with self.path.open("r+b", buffering=0) as image:
            self._restore(image.fileno())
            self._patched = []
            for piece in pieces:
                self._write(image.fileno(), piece)
                self._patched += piece.ranges
        os.utime(self.path, ns=(UNTOUCHED_NS, UNTOUCHED_NS))

    def end_check(self) -> None:
        """See whether the checker has changed its image."""
        try:
            about = self.path.stat()
        except FileNotFoundError:
            self._patched = None
            return
        if (about.st_mtime_ns, about.st_size) != (UNTOUCHED_NS, self._capacity):
            self._patched = None

    def _restore(self, image: int) -> None:
        """Take the durable data again where the image differs."""
        if not self._patched:
            return
        with self._durable.open("rb", buffering=0) as durable:
            for start, end in self._patched:
                copy_range(durable.fileno(), image, start * SECTOR, end * SECTOR)

    def _write(self, image: int, piece: Piece) -> None:
        for start, end in piece.ranges:
            if piece.write.place is None:
                write_zeroes(image, start * SECTOR, end * SECTOR)
                continue
            for at in range(start, end, CHUNK // SECTOR):
                until = min(at + CHUNK // SECTOR, end)
                write_all(image, self._data.read(piece.write, at, until), at * SECTOR)


def clone(source: Path, copy: Path, capacity: int) -> None:
    """Copy an image, sharing its data or leaving its holes. Errors: OSError."""
    copy.unlink(missing_ok=True)
    with source.open("rb", buffering=0) as old, copy.open("xb", buffering=0) as new:
        if not _share(old.fileno(), new.fileno()):
            new.truncate(capacity)
            for start, end in data_ranges(old.fileno(), 0, capacity):
                copy_range(old.fileno(), new.fileno(), start, end)
        new.truncate(capacity)


def _share(old: int, new: int) -> bool:
    import fcntl  # noqa: PLC0415 - it is not on every system

    try:
        fcntl.ioctl(new, FICLONE, old)
    except OSError:
        return False
    return True


def data_ranges(image: int, start: int, end: int) -> Iterator[Range]:
    """Return the ranges of bytes of an image that are no holes."""
    at = start
    while at < end:
        try:
            first = os.lseek(image, at, os.SEEK_DATA)
            last = os.lseek(image, first, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == 6:  # ENXIO: no data from here on
                return
            first, last = at, end  # the file system can't tell
        if first >= end:
            return
        yield first, min(last, end)
        at = last


def copy_range(source: int, image: int, start: int, end: int) -> None:
    """Copy bytes from one image to the same place of another. Errors: OSError."""
    for at in range(start, end, CHUNK):
        data = os.pread(source, min(CHUNK, end - at), at)
        data += bytes(min(CHUNK, end - at) - len(data))
        write_all(image, data, at)


def write_zeroes(image: int, start: int, end: int) -> None:
    """Write zeroes, where there is anything else than a hole. Errors: OSError."""
    for first, last in list(data_ranges(image, start, end)):
        for at in range(first, last, CHUNK):
            write_all(image, ZEROES[: min(CHUNK, last - at)], at)


def write_all(image: int, data: bytes, offset: int) -> None:
    """Write all bytes at a place. Errors: OSError."""
    while data:
        written = os.pwrite(image, data, offset)
        data, offset = data[written:], offset + written
