"""A file of a client, on a thread of its own: it may answer late, or never.

Nothing waits for the file: who waits for a job of the thread may leave. The thread ends with the
job that it has, closes the file after that, and gives its place back. So a file that hangs costs
one place, one thread and BOUNCE_BYTES until its file system answers.

Invariant: memory of a caller is touched only under `_touch`, while the caller is there, and never
while a file system is waited for: bytes are read there with RWF_NOWAIT, which takes what is in
memory already, and otherwise go through a buffer of the thread. `end` takes the same lock, so after
it the memory is the caller's alone.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import stat
import threading
from contextlib import suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeVar

from virtmesh.rpc.strangers import close_all
from virtmesh_common.blk.errors import FileFailed, FileNotTaken
from virtmesh_common.sparse import data_runs, write_all

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

BOUNCE_BYTES = 256 << 10
"""Buffer for what is not in memory yet, and for what is written: it fits the cache of a core."""
REFUSED_FLAGS = os.O_APPEND | os.O_DIRECT | os.O_PATH
"""Flags of files whose offsets, or buffers, are not ours to choose."""
NOT_NOW = frozenset((errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS))
"""What a file system says that does not know RWF_NOWAIT."""


class _LeftError(Exception):
    """Nobody waits for the job any more."""


class FileThread:
    """A thread that has a descriptor, and closes it. `ended` is called on the loop then.

    Errors: FileNotTaken if no thread can be started; the descriptor is closed.
    """

    def __init__(self, descriptor: int, ended: Callable[[], None]) -> None:
        self._descriptor = descriptor
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._jobs: SimpleQueue[tuple[Callable[[], object], asyncio.Future[object]] | None] = (
            SimpleQueue()
        )
        self._touch = threading.Lock()
        self._wanted = True
        self._knows_nowait = True
        # A daemon: a file that hangs does not keep the interpreter from its end.
        thread = threading.Thread(target=self._serve, name="file", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            close_all((descriptor,))
            ended()
            raise FileNotTaken("no thread can be started for the file: try again later") from error

    async def check(self, *, writable: bool, end: int) -> None:
        """Refuse what is no regular file, or can't be used, or ends before `end`.

        Errors: FileNotTaken; FileFailed.
        """
        await self._run(lambda: check_file(self._descriptor, writable=writable, end=end))

    async def read(self, into: memoryview, position: int) -> None:
        """Fill a buffer. Errors: FileFailed, also when the file ends before."""
        await self._run(lambda: self._fill(into, position))

    async def write(self, data: memoryview, position: int) -> None:
        """Write bytes; blocks of zeroes are passed over. Errors: FileFailed."""
        await self._run(lambda: self._write(data, position))

    def end(self) -> None:
        """End the thread after the job that it has. From now on it touches no memory."""
        with self._touch:
            self._wanted = False
        self._jobs.put(None)

    async def _run(self, job: Callable[[], object]) -> None:
        """Have a job done, and wait for it. Errors: FileNotTaken; FileFailed."""
        done: asyncio.Future[object] = self._loop.create_future()
        self._jobs.put((job, done))
        try:
            await done
        except OSError as error:
            number = error.errno or 0
            raise FileFailed(error.strerror or str(error), errno=number) from error

    def _serve(self) -> None:
        """Do jobs, on the thread, until the end."""
        while (order := self._jobs.get()) is not None:
            job, done = order
            failed: Exception | None = None
            try:
                job()
            except Exception as error:  # noqa: BLE001 - it is raised where the job was asked for
                failed = error
            self._tell(lambda done=done, failed=failed: settle(done, failed))  # type: ignore[misc]
            del order, job, done, failed
        with suppress(OSError):
            os.close(self._descriptor)
        self._tell(self._ended)

    def _tell(self, call: Callable[[], None]) -> None:
        """Have something called on the loop, if that is still there."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(call)

    def _fill(self, into: memoryview, position: int) -> None:
        """Fill a buffer, on the thread. Errors: OSError."""
        done, size = 0, len(into)
        while done < size:
            count = self._read_now(into[done:], position + done)
            if count is None:
                data = os.pread(self._descriptor, min(BOUNCE_BYTES, size - done), position + done)
                count = len(data)
                with self._touch:
                    self._check_wanted()
                    into[done : done + count] = data
            if not count:
                text = f"the file ended {size - done} bytes early: was it truncated?"
                raise OSError(errno.EIO, text)
            done += count

    def _read_now(self, into: memoryview, position: int) -> int | None:
        """Read what is in memory already; None if that is nothing. Errors: OSError."""
        if not self._knows_nowait:
            return None
        with self._touch:
            self._check_wanted()
            try:
                return os.preadv(self._descriptor, [into], position, os.RWF_NOWAIT)
            except BlockingIOError:
                return None
            except OSError as error:
                if error.errno not in NOT_NOW:
                    raise
                self._knows_nowait = False
                return None

    def _write(self, data: memoryview, position: int) -> None:
        """Write bytes that are not zero, on the thread. Errors: OSError."""
        for start in range(0, len(data), BOUNCE_BYTES):
            with self._touch:
                self._check_wanted()
                piece = bytes(data[start : start + BOUNCE_BYTES])
            for begin, end in data_runs(piece):
                write_all(self._descriptor, memoryview(piece)[begin:end], position + start + begin)

    def _check_wanted(self) -> None:
        """Leave a job that nobody waits for. The caller holds the lock."""
        if not self._wanted:
            raise _LeftError


def settle(done: asyncio.Future[object], failed: Exception | None) -> None:
    """Tell who waits for a job, if somebody does."""
    if done.done():
        return
    if failed is None:
        done.set_result(None)
    else:
        done.set_exception(failed)


def check_file(descriptor: int, *, writable: bool, end: int) -> None:
    """Refuse what is no regular file, or can't be used so, or ends before `end`.

    Errors: FileNotTaken; OSError.
    """
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    if flags & REFUSED_FLAGS:
        raise FileNotTaken("a file opened with O_APPEND, O_DIRECT or O_PATH is not taken")
    way = flags & os.O_ACCMODE
    if way != os.O_RDWR and (writable or way != os.O_RDONLY):
        need = "reading and writing" if writable else "reading"
        raise FileNotTaken(f"the file is not open for {need}")
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise FileNotTaken("it is no regular file")
    if found.st_size < end:
        raise FileNotTaken(f"the file has {found.st_size} bytes, and {end} are to be used")
