"""Bytes in pieces that fit one message, and reports of how far a copy has come."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, BinaryIO

from virtmesh_common.sizes import CHUNK_LIMIT_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Data = bytes | bytearray | memoryview
    Progress = Callable[[int], object]
    """Called with the bytes copied so far, on the thread that copies."""


def ignore(_done: int) -> None:
    """Take a report of progress, and do nothing."""


def pieces(data: Data | Iterable[Data]) -> Iterator[bytes]:
    """Cut bytes, or an iterable of bytes, into what fits one message."""
    if isinstance(data, (bytes, bytearray, memoryview)):
        data = [data]
    for part in data:
        view = memoryview(part).cast("B")
        for start in range(0, len(view), CHUNK_LIMIT_BYTES):
            yield bytes(view[start : start + CHUNK_LIMIT_BYTES])


def file_pieces(source: BinaryIO, limit: int | None = None) -> Iterator[bytes]:
    """Read a binary file from where it stands, to its end or `limit` bytes.

    Errors: OSError when it ends before `limit`.
    """
    left = limit
    while left is None or left > 0:
        piece = source.read(CHUNK_LIMIT_BYTES if left is None else min(left, CHUNK_LIMIT_BYTES))
        if not piece:
            if left:
                raise ended_early(left, str(getattr(source, "name", "the source")))
            return
        if left is not None:
            left -= len(piece)
        yield piece


def ended_early(left: int, name: str) -> OSError:
    """Return the error for a file that has so many bytes less than it had."""
    return OSError(errno.EIO, f"the file ended {left} bytes early: was it truncated?", name)


def remaining(source: BinaryIO) -> int | None:
    """Return how many bytes a file still has, or None for a pipe or a terminal."""
    try:
        descriptor = source.fileno()
    except (AttributeError, OSError):
        return None
    mode = os.fstat(descriptor).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
        return None
    position = source.tell()
    end = source.seek(0, os.SEEK_END)
    source.seek(position)
    return max(0, end - position)


def writer(target: BinaryIO) -> Callable[[bytes], None]:
    """Return a function that writes all of its bytes, although a raw file may take only a part."""

    def write(data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[target.write(view) or 0 :]

    return write
