"""Write files atomically: sparse, under a temporary name, which is changed at the end."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from typing import TYPE_CHECKING

from virtmesh_common.sparse import data_runs, write_all

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class SparseFile:
    """A new file that is written in order. Blocks of zeroes become holes."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._position = 0

    def skip(self, size: int) -> None:
        """Take so many bytes as written, by somebody who has the descriptor."""
        os.ftruncate(self.descriptor, self._position + size)
        self._position += size

    def write(self, data: bytes) -> None:
        """Append bytes. Errors: OSError."""
        for start, end in data_runs(data):
            write_all(self.descriptor, memoryview(data)[start:end], self._position + start)
        self._position += len(data)

    def finish(self) -> None:
        """Set the length of the file, and make it durable. Errors: OSError."""
        os.ftruncate(self.descriptor, self._position)
        os.fsync(self.descriptor)


@contextlib.contextmanager
def new_file(target: Path, *, overwrite: bool) -> Iterator[SparseFile]:
    """Create `target` with what the body writes. If the body fails, leave no file behind.

    Errors: FileExistsError if `target` exists and `overwrite` is false; OSError.
    """
    with new_path(target, overwrite=overwrite) as scratch:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            descriptor = os.open(scratch, flags, 0o666)
        except OSError as error:
            error.filename = str(target)  # the caller does not know the temporary name
            raise
        try:
            file = SparseFile(descriptor)
            yield file
            file.finish()
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def new_path(target: Path, *, overwrite: bool) -> Iterator[Path]:
    """Give a temporary name beside `target` to write to, and rename it to `target` afterwards.

    If the body fails, leave no file behind. Errors: as `new_file`.
    """
    check_target(target, overwrite=overwrite)
    scratch = target.with_name(f".virtmesh-{secrets.token_hex(8)}.partial")
    try:
        yield scratch
        publish(scratch, target, overwrite=overwrite)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
    sync_folder(target.parent)


def check_target(target: Path, *, overwrite: bool) -> None:
    """Check early what `publish` would refuse after the whole copy. Errors: OSError."""
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
    if target.exists() and not target.is_file():
        message = "it is not a regular file: write to - and redirect standard output to it"
        raise OSError(errno.EINVAL, message, str(target))
    if not overwrite and os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "its folder does not exist", str(target))
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "this user may not write to its folder", str(target))


def publish(scratch: Path, target: Path, *, overwrite: bool) -> None:
    """Rename a finished file to its name. Without `overwrite`, never replace a file.

    Errors: FileExistsError; OSError.
    """
    if overwrite:
        scratch.replace(target)
        return
    try:
        os.link(scratch, target)
    except OSError as error:
        if error.errno not in {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS}:
            raise
        # The file system, such as FAT, has no hard links.
        check_target(target, overwrite=False)
        scratch.replace(target)
    else:
        scratch.unlink()


def sync_folder(folder: Path) -> None:
    """Make a new name in a folder durable. Errors: OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
