"""The security folder: who may own it, and how its files are read and replaced.

Everything goes through a descriptor of the folder, so that another folder put in its place later is
not used. Files are replaced whole, under another name first. Whoever reads, changes and writes a
file holds the lock of the folder meanwhile: several processes may issue at once.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import time
from typing import TYPE_CHECKING, Self

from virtmesh_common.security.errors import BadSecurityFolder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FOLDER_MODE = 0o700
FILE_MODE = 0o600
FILE_LIMIT_BYTES = 16 << 20
"""Most bytes of a file that is read."""
LOCK = ".lock"
LOCK_SECONDS = 10.0
"""How long another process may hold the lock. Nobody holds it for longer than some writes take."""
LOCK_PAUSE_SECONDS = 0.01
ROOT = 0
"""Who may have made a folder that others read: root can do all that its owner can."""

Stamp = tuple[int, int, int, int]
"""What differs between two versions of a file: device, inode, length, time of change."""


class SecurityFolder:
    """An open folder. Close it, or use it in a `with`.

    Errors: BadSecurityFolder if it is a symbolic link, somebody else's, or open to others.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._descriptor = os.open(self.path, flags)
        except FileNotFoundError:
            raise BadSecurityFolder(
                f"there is no folder {self.path}: `virtmesh certs init` makes one"
            ) from None
        except OSError as error:
            linked = error.errno in {errno.ELOOP, errno.ENOTDIR} and self.path.is_symlink()
            why = "it is a symbolic link" if linked else error.strerror
            raise BadSecurityFolder(f"{self.path} can't be a security folder: {why}") from None
        try:
            check_owner(os.fstat(self._descriptor), str(self.path))
        except BaseException:
            self.close()
            raise

    @classmethod
    def make(cls, path: Path) -> Self:
        """Open a folder, which is made if there is none. Errors: BadSecurityFolder."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir(mode=FOLDER_MODE)
        except FileExistsError:
            pass
        except OSError as error:
            raise BadSecurityFolder(f"{path} can't be made: {error.strerror}") from None
        return cls(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the folder."""
        os.close(self._descriptor)

    def has(self, name: str) -> bool:
        """Say whether there is a file of that name."""
        try:
            os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)
        except OSError:
            return False
        return True

    def was_replaced(self) -> bool:
        """Say whether the path leads to another folder now, or to none."""
        try:
            now = self.path.stat(follow_symlinks=False)
        except OSError:
            return True
        return not os.path.samestat(now, os.fstat(self._descriptor))

    def stamp(self, name: str) -> Stamp | None:
        """Return what tells this version of a file from others; None if there is no file."""
        try:
            found = os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)
        except OSError:
            return None
        return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)

    def read(self, name: str, *, secret: bool = False) -> bytes:
        """Return the content of a file. A `secret` one must be closed to others.

        Errors: BadSecurityFolder.
        """
        where = str(self.path / name)
        # A FIFO would keep who opens it waiting, and a device may do anything.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            descriptor = os.open(name, flags, dir_fd=self._descriptor)
        except OSError as error:
            linked = error.errno == errno.ELOOP
            why = "it is a symbolic link" if linked else error.strerror
            if self.was_replaced():
                why = "its folder was removed or replaced as a whole: restart what uses it"
            raise BadSecurityFolder(f"{where} can't be read: {why}") from None
        try:
            check_file(os.fstat(descriptor), where, secret=secret)
            return read_bounded(descriptor, where)
        finally:
            os.close(descriptor)

    def write(self, name: str, data: bytes) -> None:
        """Replace a file by one with mode 0600. Errors: BadSecurityFolder."""
        scratch = f"{name}.{secrets.token_hex(8)}.new"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(scratch, flags, FILE_MODE, dir_fd=self._descriptor)
            try:
                write_durably(descriptor, data)
                os.rename(scratch, name, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)
            except BaseException:
                os.unlink(scratch, dir_fd=self._descriptor)
                raise
            os.fsync(self._descriptor)
        except OSError as error:
            raise BadSecurityFolder(
                f"{self.path / name} can't be written: {error.strerror}"
            ) from None

    def remove(self, name: str) -> None:
        """Remove a file. Errors: BadSecurityFolder."""
        try:
            os.unlink(name, dir_fd=self._descriptor)
            os.fsync(self._descriptor)
        except OSError as error:
            raise BadSecurityFolder(
                f"{self.path / name} can't be removed: {error.strerror}"
            ) from None

    def inner(self, name: str) -> SecurityFolder:
        """Open a folder in this one, which is made if there is none. Errors: BadSecurityFolder."""
        return SecurityFolder.make(self.path / name)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from changing files in the body. Errors: BadSecurityFolder."""
        import fcntl  # noqa: PLC0415 - other systems have none, and do not issue

        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(LOCK, flags, FILE_MODE, dir_fd=self._descriptor)
        except OSError as error:
            raise BadSecurityFolder(
                f"{self.path} can't be changed by this user: {error.strerror}"
            ) from None
        try:
            end = time.monotonic() + LOCK_SECONDS
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > end:
                        raise BadSecurityFolder(
                            f"another process has held {self.path / LOCK} for {LOCK_SECONDS:g} s"
                        ) from None
                    time.sleep(LOCK_PAUSE_SECONDS)
            yield
        finally:
            os.close(descriptor)  # and with it goes the lock


def check_owner(found: os.stat_result, where: str) -> None:
    """Refuse what somebody else could change. Errors: BadSecurityFolder."""
    if found.st_uid not in {os.geteuid(), ROOT}:
        raise BadSecurityFolder(
            f"{where} belongs to user {found.st_uid}, and this process is user {os.geteuid()}"
        )
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        mend = f"choose a folder in it, such as {where}/security"
        if not found.st_mode & stat.S_ISVTX:
            mend = f"chmod go-w {where}"
        raise BadSecurityFolder(f"others may write to {where}: {mend}")


def check_file(found: os.stat_result, where: str, *, secret: bool) -> None:
    """Refuse what is no file, is open to others, or too long. Errors: BadSecurityFolder."""
    if not stat.S_ISREG(found.st_mode):
        raise BadSecurityFolder(f"{where} is no file")
    check_owner(found, where)
    if secret and found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise BadSecurityFolder(f"others may read {where}: chmod 600 {where}")
    if found.st_size > FILE_LIMIT_BYTES:
        raise BadSecurityFolder(f"{where} is longer than {FILE_LIMIT_BYTES >> 20} MiB")


def read_bounded(descriptor: int, where: str) -> bytes:
    """Read a file to its end. Errors: BadSecurityFolder if it is longer than it may be; OSError."""
    data = bytearray()
    while part := os.read(descriptor, FILE_LIMIT_BYTES + 1 - len(data)):
        data += part
        if len(data) > FILE_LIMIT_BYTES:
            raise BadSecurityFolder(f"{where} is longer than {FILE_LIMIT_BYTES >> 20} MiB")
    return bytes(data)


def write_durably(descriptor: int, data: bytes) -> None:
    """Write all bytes, and close the descriptor in any case. Errors: OSError."""
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
