"""Huge pages of 2 MiB: reserved for a test, where its user may."""

from __future__ import annotations

import ctypes
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import gettempdir

import pytest

HUGE_PAGE = 2 << 20
PUNCH_HOLE_AND_KEEP_SIZE = 3
"""FALLOC_FL_PUNCH_HOLE, FALLOC_FL_KEEP_SIZE."""
POOL = Path("/sys/kernel/mm/hugepages/hugepages-2048kB")
LOCK = Path(gettempdir()) / f"virtmesh-huge-pages-{os.getuid()}"
"""The pool is the host's: tests that run beside each other have it in turn."""


def free_pages() -> int:
    """Count the pages that nobody has, nor reserved."""
    free, reserved = (
        int((POOL / name).read_text()) for name in ("free_hugepages", "resv_hugepages")
    )
    return free - reserved


def huge_file(pages: int) -> int:
    """Make a sealed file of huge pages. They are taken when they are touched."""
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING | os.MFD_HUGETLB | os.MFD_HUGE_2MB
    descriptor = os.memfd_create("huge", flags)
    os.ftruncate(descriptor, pages * HUGE_PAGE)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    return descriptor


def punch(descriptor: int, page: int) -> None:
    """Give a page back to the pool, as whoever has the file may. Errors: OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    place, length = ctypes.c_long(page * HUGE_PAGE), ctypes.c_long(HUGE_PAGE)
    if libc.fallocate(descriptor, PUNCH_HOLE_AND_KEEP_SIZE, place, length):
        raise OSError(ctypes.get_errno(), "no hole can be punched")


@contextmanager
def huge_pages(count: int) -> Iterator[None]:
    """Have so many free ones, or skip the test."""
    pool = POOL / "nr_hugepages"
    if not pool.exists():
        pytest.skip("this kernel has no huge pages of 2 MiB")
    with LOCK.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = pool.read_text()
        missing = count - free_pages()
        try:
            if missing > 0:
                with suppress(OSError):  # Not everybody may, and not everywhere.
                    pool.write_text(str(int(before) + missing))
            if free_pages() < count:
                pytest.skip(f"needs {count} free huge pages of 2 MiB")
            yield
        finally:
            if missing > 0:
                with suppress(OSError):
                    pool.write_text(before)
