"""When the power may be lost, and what may be on the disk then.

At a time, each write is one of three. It is durable if a flush has ended that began after the
write's end, or if it is one with FUA that has ended: it is on the disk. It is loose if it was
submitted: each part of it may be on the disk or not. Or it is still to come.

What is loose only grows until something becomes durable. So it is enough to look just before
that, and before each mark, since a mark is a promise more: these are the windows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from virtmesh_client.powerloss.log import Write, WriteLog

Range = tuple[int, int]
"""First sector, and the one after the last."""


@dataclass(frozen=True, eq=False)
class Piece:
    """What of a write is, or may be, on the disk."""

    write: Write
    ranges: tuple[Range, ...]
    doubtful: tuple[Range, ...] = ()
    """Where a durable write was under way at the same time: either may have come last."""


@dataclass(frozen=True)
class Window:
    """What may be on the disk just before something becomes durable, or a mark."""

    number: int
    mark: str
    """The last mark; empty before the first."""
    settled: tuple[Piece, ...]
    """What has become durable since the window before, in order."""
    loose: tuple[Piece, ...]
    """What may be there, in the order in which it ended."""


def subtract(ranges: Iterable[Range], cut: Range) -> tuple[Range, ...]:
    """Return ranges without a range."""
    left: list[Range] = []
    for start, end in ranges:
        if start < min(end, cut[0]):
            left.append((start, min(end, cut[0])))
        if max(start, cut[1]) < end:
            left.append((max(start, cut[1]), end))
    return tuple(left)


def intersect(ranges: Iterable[Range], other: Range) -> tuple[Range, ...]:
    """Return what ranges have in common with a range."""
    common = ((max(start, other[0]), min(end, other[1])) for start, end in ranges)
    return tuple((start, end) for start, end in common if start < end)


def find_windows(log: WriteLog) -> Iterator[Window]:
    """Find the windows of a log, in the order of time; there is one at least."""
    loose = _Loose()
    writes = sorted(log.writes, key=lambda one: one.begun)
    boundaries: list[tuple[int, int, str | None, int]] = [
        *((one.ended, 0, None, one.begun) for one in log.flushes),
        *((one.ended, 1, None, one.number) for one in writes if one.is_fua),
        *((one.time, 2, one.text, 0) for one in log.marks),
    ]
    boundaries.sort(key=lambda one: one[:2])
    number, mark, taken, covered = 0, "", 0, 0
    settled: list[Piece] = []
    for time, kind, text, about in boundaries:
        while taken < len(writes) and writes[taken].begun < time:
            loose.add(writes[taken])
            taken += 1
        if kind == 0:
            covered = max(covered, about)
            now = loose.find_covered(covered)
        else:
            now = loose.find(about) if kind == 1 else []
        if now or kind == 2:
            yield Window(number, mark, tuple(settled), loose.pieces())
            number += 1
            settled = loose.settle(now)
        if text is not None:
            mark = text
    for write in writes[taken:]:
        loose.add(write)
    yield Window(number, mark, tuple(settled), loose.pieces())


class _Loose:
    """The writes that are loose, by their numbers."""

    def __init__(self) -> None:
        self._pieces: dict[int, Piece] = {}

    def add(self, write: Write) -> None:
        """Add a write that is submitted."""
        self._pieces[write.number] = Piece(write, ((write.sector, write.end),))

    def pieces(self) -> tuple[Piece, ...]:
        """Return all, in the order in which they ended."""
        return tuple(sorted(self._pieces.values(), key=lambda one: one.write.ended))

    def find(self, number: int) -> list[Piece]:
        """Return the one of a number, if there is one."""
        return [self._pieces[number]] if number in self._pieces else []

    def find_covered(self, begun: int) -> list[Piece]:
        """Return those that a flush makes durable which began then, in the order of their ends."""
        return [one for one in self.pieces() if one.write.ended < begun and not one.write.is_failed]

    def settle(self, pieces: list[Piece]) -> list[Piece]:
        """Take out what has become durable. What it has overwritten comes back no more."""
        for piece in pieces:
            del self._pieces[piece.write.number]
        last = max((one.write.ended for one in pieces), default=0)
        for number, other in list(self._pieces.items()):
            if other.write.begun < last:
                self._pieces[number] = _behind(other, pieces)
        return pieces


def _behind(loose: Piece, pieces: list[Piece]) -> Piece:
    """Return a loose piece without what a durable one has overwritten."""
    ranges, doubtful = loose.ranges, list(loose.doubtful)
    for piece in pieces:
        place = (piece.write.sector, piece.write.end)
        if loose.write.ended < piece.write.begun:
            ranges = subtract(ranges, place)
        elif loose.write.begun < piece.write.ended:
            doubtful += intersect(ranges, place)
    return Piece(loose.write, ranges, tuple(doubtful))
