"""Reading a log of a disk's writes, in the format of dm-log-writes.

The disk of virtmesh writes such logs (native/blk/src/write_log.rs), and so do dm-log-writes of
Linux and QEMU's blklogwrites. Ours say more, in the last 64 bytes of a sector that describes an
entry: when a request was submitted and when it ended, by a clock that counts such events. Of
other logs the order is known alone: each entry begins and ends at its place.

A log is what others wrote: everything is checked, and nothing is read whole but its descriptions.
"""

from __future__ import annotations

import os
import stat
import struct
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from virtmesh_common.blk.errors import BadWriteLog
from virtmesh_common.blk.marks import OWN

if TYPE_CHECKING:
    from pathlib import Path

SECTOR = 512
MAGIC = 0x6A736677736872
"""WRITE_LOG_MAGIC"""
VERSION = 1
FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8
"""Flags of an entry: LOG_FLUSH_FLAG and so on."""
KNOWN = FLUSH | FUA | DISCARD | MARK | 16
SUPER = struct.Struct("<QQQI")
ENTRY = struct.Struct("<QQQQ")
EXTRA = 448
"""Where our own fields begin, in a sector of 512 bytes."""
EXTRA_MAGIC = b"virtmesh"
EXTRA_SUPER = struct.Struct("<8sQQQ")
"""Magic, capacity in bytes, fingerprint of the image, block size."""
EXTRA_ENTRY = struct.Struct("<8sQQQ")
"""Magic, times of submission and end, own flags."""
ZEROES, FAILED, FLUSHED, OPENED = 1, 2, 4, 8
"""Own flags."""
ENTRIES_MAX = 1 << 22
"""Most entries that are read: each takes memory."""
SECTORS_MAX = 1 << 54
"""No disk has more."""
TIME_MAX = 1 << 62
SAMPLES, HEAD = 64, 8192
"""Of a fingerprint: samples of a sector, and bytes at the start of the image."""


@dataclass(frozen=True, eq=False)
class Write:
    """Sectors that a request changed. Times count events of the log."""

    number: int
    """Its entry in the log, from 0."""
    sector: int
    sectors: int
    place: int | None
    """Where its data begins in the log; None for zeroes."""
    begun: int
    ended: int
    is_failed: bool = False
    """It failed: any part of it may be on the disk, and no flush is about it."""
    is_fua: bool = False
    """It is durable once it has ended."""

    @property
    def end(self) -> int:
        """The sector after its last one."""
        return self.sector + self.sectors


@dataclass(frozen=True)
class Flush:
    """A flush that ended well: it makes durable what ended before it began."""

    begun: int
    ended: int


@dataclass(frozen=True)
class Mark:
    """A mark: what it promises holds from its time on."""

    time: int
    text: str


@dataclass(frozen=True)
class WriteLog:
    """A log that was read. Sectors have 512 bytes."""

    path: Path
    entries: int
    """Entries that were read."""
    capacity: int | None
    """Bytes of the disk; None if the log does not say."""
    fingerprint: int | None
    block_size: int
    writes: tuple[Write, ...]
    flushes: tuple[Flush, ...]
    marks: tuple[Mark, ...]
    runs: int
    """How often a service began to record; 0 if the log does not say."""

    @property
    def end(self) -> int:
        """The sector after the last one that was written."""
        return max((one.end for one in self.writes), default=0)


@dataclass
class _Found:
    """What was found so far."""

    writes: list[Write] = field(default_factory=list)
    flushes: list[Flush] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    runs: int = 0
    ends: dict[int, int] = field(default_factory=dict)
    """When requests ended, by their submission: a large one has several entries."""


def read_log(path: Path, *, entries: int | None = None, mark_sector: int | None = None) -> WriteLog:
    """Read a log; of `entries`, so many only. Errors: BadWriteLog, OSError.

    Writes of at most 4096 bytes that begin at `mark_sector` are marks, and change nothing.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise BadWriteLog(f"{path}: not a file: give the file of write-log=FILE")
        return _Reader(path, descriptor, mark_sector).read(entries)
    finally:
        os.close(descriptor)


class _Reader:
    """Reads one log."""

    def __init__(self, path: Path, descriptor: int, mark_sector: int | None) -> None:
        self._path = path
        self._descriptor = descriptor
        self._mark_sector = mark_sector
        self._length = os.fstat(descriptor).st_size
        self._found = _Found()
        self._capacity: int | None = None
        self._unit = SECTOR
        """Bytes of a sector of this log."""

    def read(self, most: int | None) -> WriteLog:
        """Read all of it."""
        first = os.pread(self._descriptor, SECTOR, 0)
        if len(first) < SECTOR:
            raise self._bad("too short for a log of writes")
        magic, version, count, unit = SUPER.unpack_from(first)
        if magic != MAGIC:
            raise self._bad(
                "not a log of writes: give the file of write-log=FILE, of dm-log-writes or of"
                " blklogwrites"
            )
        if version != VERSION or unit % SECTOR or not SECTOR <= unit <= 1 << 16:
            raise self._bad(f"a log of version {version} with sectors of {unit} bytes: not known")
        self._unit = unit
        own, capacity, fingerprint, block_size = EXTRA_SUPER.unpack_from(first, EXTRA)
        is_own = own == EXTRA_MAGIC and unit == SECTOR
        if is_own:
            self._capacity = capacity
        count = count if most is None else min(count, most)
        if count > ENTRIES_MAX:
            raise self._bad(
                f"{count} entries, and {ENTRIES_MAX} at most are read: check the first ones with"
                f" --entries {ENTRIES_MAX}"
            )
        place = unit
        for number in range(count):
            place = self._read_entry(number, place, count, is_own=is_own)
        found = self._found
        ends = found.ends
        writes = [
            replace(one, ended=ends[one.begun]) if one.begun in ends else one
            for one in found.writes
        ]
        return WriteLog(
            path=self._path,
            entries=count,
            capacity=self._capacity,
            fingerprint=fingerprint if is_own else None,
            block_size=block_size if is_own and SECTOR <= block_size <= 1 << 16 else unit,
            writes=tuple(writes),
            flushes=tuple(found.flushes),
            marks=tuple(sorted(found.marks, key=lambda one: one.time)),
            runs=found.runs,
        )

    def _read_entry(self, number: int, place: int, count: int, *, is_own: bool) -> int:
        """Read an entry; returns where the next one is."""
        header = os.pread(self._descriptor, self._unit, place)
        if len(header) < self._unit:
            raise self._cut_off(number, count)
        sector, sectors, flags, length = ENTRY.unpack_from(header)
        if flags & ~KNOWN or sectors > SECTORS_MAX or sector > SECTORS_MAX:
            raise self._bad(f"entry {number} is none: flags {flags:#x}, sector {sector}")
        own, begun, ended, extra = EXTRA_ENTRY.unpack_from(header, EXTRA)
        if not is_own or own != EXTRA_MAGIC or flags & FUA:
            begun, ended, extra = 4 * number + 1, 4 * number + 2, 0
        if begun > ended or ended >= TIME_MAX:
            raise self._bad(f"entry {number} ends before it begins")
        after = place + self._unit
        if flags & MARK:
            self._take_mark(header[ENTRY.size : ENTRY.size + length], begun, ended, extra)
            return after
        if flags & FLUSH and not is_own:
            self._found.flushes.append(Flush(begun - 1, begun - 1))
        if not sectors:
            return after
        self._take_data(number, count, (sector, sectors, flags), (begun, ended, extra), after)
        return after if flags & DISCARD else after + sectors * self._unit

    def _take_data(
        self,
        number: int,
        count: int,
        about: tuple[int, int, int],
        own: tuple[int, int, int],
        place: int,
    ) -> None:
        """Take sectors that were changed: their numbers and flags, our own fields, their data."""
        (sector, sectors, flags), (begun, ended, extra) = about, own
        if not flags & DISCARD and place + sectors * self._unit > self._length:
            raise self._cut_off(number, count)
        scale = self._unit // SECTOR
        write = Write(
            number,
            sector * scale,
            sectors * scale,
            None if flags & DISCARD or extra & ZEROES else place,
            begun,
            ended,
            is_failed=bool(extra & FAILED),
            is_fua=bool(flags & FUA),
        )
        if self._capacity is not None and write.end * SECTOR > self._capacity:
            raise self._bad(f"entry {number} is past the end of its disk")
        self._take_write(write)

    def _take_mark(self, text: bytes, begun: int, ended: int, extra: int) -> None:
        if extra & FLUSHED:
            self._found.flushes.append(Flush(begun, ended))
        elif extra & OPENED:
            self._found.runs += 1
        else:
            # A zero ends it: the checker is told of it by its environment, which can't have one.
            spelled = text.split(b"\0")[0].decode(errors="replace")
            if not spelled.startswith(OWN):
                self._found.marks.append(Mark(begun, spelled))

    def _take_write(self, write: Write) -> None:
        is_small = write.sectors * SECTOR <= 4096
        if write.sector == self._mark_sector and is_small and write.place is not None:
            text = os.pread(self._descriptor, SECTOR, write.place).split(b"\0")[0]
            self._found.marks.append(Mark(write.begun, text.decode(errors="replace").strip()))
            return
        ends = self._found.ends
        ends[write.begun] = max(ends.get(write.begun, 0), write.ended)
        self._found.writes.append(write)

    def _bad(self, reason: str) -> BadWriteLog:
        return BadWriteLog(f"{self._path}: {reason}")

    def _cut_off(self, number: int, count: int) -> BadWriteLog:
        return self._bad(
            f"cut off in entry {number} of {count}: copy it again, or check what is there with"
            f" --entries {number}"
        )


def fingerprint(image: Any, capacity: int) -> int:
    """Return the number that tells an image, an open file, from others: as the disk takes it."""
    step = max(capacity // SAMPLES // SECTOR, 1) * SECTOR
    places = [(0, min(capacity, HEAD))]
    places += [
        (index * step, SECTOR) for index in range(SAMPLES) if index * step + SECTOR <= capacity
    ]
    value = 0xCBF29CE484222325
    for offset, length in places:
        for byte in os.pread(image.fileno(), length, offset):
            value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return value
