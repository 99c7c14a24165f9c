"""Bounds the logs in the run folder of a machine, which is often in memory.

A process has its log open for as long as it runs, to append to it. So what it holds is copied to
NAME.log.1, in the place of what is there, and the log is emptied: the process goes on at its begin.
What it writes between copying and emptying is lost.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

EARLIER_SUFFIX = ".1"
"""Ends the name of what a log held before."""
LIMIT_BYTES = 16 << 20
"""A log that is longer is emptied, and so many bytes of its end are kept."""
PART_BYTES = 1 << 20
LOG_MODE = 0o600


def earlier(log: Path) -> Path:
    """Return the path of what a log held before."""
    return log.with_name(log.name + EARLIER_SUFFIX)


def bound(log: Path, limit: int = LIMIT_BYTES) -> bool:
    """Empty a log of more than `limit` bytes; say whether it was. Errors: OSError.

    Where there is no room for what it held, that is not kept.
    """
    try:
        if log.lstat().st_size <= limit:  # the common case, without opening it
            return False
        descriptor = os.open(log, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        size = os.fstat(descriptor).st_size
        if size <= limit:
            return False
        kept = earlier(log)
        try:
            _copy(descriptor, size - limit, size, kept)
        except OSError:
            with contextlib.suppress(OSError):
                kept.unlink()
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)
    return True


def _copy(source: int, begin: int, end: int, target: Path) -> None:
    """Copy bytes from `begin` to `end` into a file. Errors: OSError."""
    target.unlink(missing_ok=True)  # first, so that there is room
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(target, flags, LOG_MODE), "wb", buffering=0) as file:
        while begin < end and (part := os.pread(source, min(PART_BYTES, end - begin), begin)):
            view = memoryview(part)
            begin += len(view)
            while view:
                view = view[file.write(view) :]
