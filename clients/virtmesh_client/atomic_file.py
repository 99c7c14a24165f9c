"""Files made whole or not at all: written under a temporary name, sparse, then renamed."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOLE_BYTES = 4096
"""Zero runs become holes in units of this: the block size of most file systems."""
ZEROES = bytes(HOLE_BYTES)


class SparseFile:
    """A new file that takes bytes in order and leaves runs of zeroes out."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._position = 0

    def write(self, data: bytes) -> None:
        """Append bytes. Errors: OSError."""
        for start, end in data_runs(data):
            write_all(self._descriptor, memoryview(data)[start:end], self._position + start)
        self._position += len(data)

    def finish(self) -> None:
        """Give the file its length, and make it durable. Errors: OSError."""
        os.ftruncate(self._descriptor, self._position)
        os.fsync(self._descriptor)


def data_runs(data: bytes) -> Iterator[tuple[int, int]]:
    """Find the runs (start, end) that are not zero, in units of HOLE_BYTES."""
    begin: int | None = None
    for start in range(0, len(data), HOLE_BYTES):
        block = data[start : start + HOLE_BYTES]
        if block == ZEROES[: len(block)]:
            if begin is not None:
                yield begin, start
                begin = None
        elif begin is None:
            begin = start
    if begin is not None:
        yield begin, len(data)


def write_all(descriptor: int, view: memoryview, position: int) -> None:
    """Write a whole view at a position. Errors: OSError."""
    while view:
        count = os.pwrite(descriptor, view, position)
        view, position = view[count:], position + count


@contextlib.contextmanager
def new_file(target: Path, *, overwrite: bool) -> Iterator[SparseFile]:
    """Make `target` from what the body writes, when the body succeeds; else leave no trace.

    Errors: FileExistsError when it is there and `overwrite` is false; OSError.
    """
    check_target(target, overwrite=overwrite)
    scratch = target.with_name(f".virtmesh-{secrets.token_hex(8)}.partial")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        descriptor = os.open(scratch, flags, 0o666)
    except OSError as error:
        error.filename = str(target)  # the name that the caller knows
        raise
    try:
        try:
            file = SparseFile(descriptor)
            yield file
            file.finish()
        finally:
            os.close(descriptor)
        publish(scratch, target, overwrite=overwrite)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
    sync_folder(target.parent)


def check_target(target: Path, *, overwrite: bool) -> None:
    """Refuse early what `publish` would refuse after the whole copy."""
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
    if target.exists() and not target.is_file():
        raise OSError(errno.EINVAL, "not a regular file: export to - and redirect it", str(target))
    if not overwrite and os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))


def publish(scratch: Path, target: Path, *, overwrite: bool) -> None:
    """Give a finished file its name; without `overwrite` one that appeared meanwhile stays."""
    if overwrite:
        scratch.replace(target)
        return
    try:
        os.link(scratch, target)
    except OSError as error:
        if error.errno not in {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS}:
            raise
        # A file system without hard links, such as FAT.
        check_target(target, overwrite=False)
        scratch.replace(target)
    else:
        scratch.unlink()


def sync_folder(folder: Path) -> None:
    """Make the name of a new file durable. Errors: OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
