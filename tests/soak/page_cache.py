"""Which part of a file the host has not written to its storage yet (cachestat(2), Linux 6.5)."""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

CACHESTAT = 451
"""Number of the call on every architecture."""


class Range(ctypes.Structure):
    """struct cachestat_range."""

    _fields_ = (("off", ctypes.c_uint64), ("len", ctypes.c_uint64))


class CacheStat(ctypes.Structure):
    """struct cachestat: pages."""

    _fields_ = tuple(
        (name, ctypes.c_uint64)
        for name in ("cache", "dirty", "writeback", "evicted", "recently_evicted")
    )


LIBC = ctypes.CDLL(None, use_errno=True)


def dirty_pages(path: Path, offset: int, length: int) -> int:
    """Return the pages of a range that are dirty or being written; 0 where the host can't say.

    Errors: OSError if there is no such file.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        where, found = Range(offset, length), CacheStat()
        result = LIBC.syscall(
            CACHESTAT, descriptor, ctypes.byref(where), ctypes.byref(found), ctypes.c_uint(0)
        )
        return 0 if result else int(found.dirty + found.writeback)
    finally:
        os.close(descriptor)
