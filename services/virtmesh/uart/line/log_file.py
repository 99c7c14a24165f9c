"""The log file of a serial line: all output of the machine, appended as it is.

Threads: the event loop's thread calls `append` and `close`, one thread of this module writes.
Invariant: `_pending`, `_writing`, `_closing` and `lost_bytes` are changed with `_changed` held; the
file is touched by the writing thread alone once it has begun. That thread pauses after each write,
since one that is always busy slows the event loop down.

A file that is moved away or removed is made anew at its path, so that whoever rotates logs needs no
signal. What can't be written is lost to the file and counted, and the device goes on.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from pathlib import Path

log = structlog.get_logger(__name__)

QUEUE_MAX = 4 << 20
"""Most output that waits to be written, in bytes."""
FLUSH_SECONDS = 10.0
"""How long what waits may take to be written."""
PAUSE_SECONDS = 0.02
"""How long output is gathered for the next write."""
MODE = 0o640
"""Permissions of a new file: what a console shows is not for everybody."""


class LogFile:
    """A file that is written in the background. Errors: OSError when it can't be opened."""

    def __init__(self, path: Path, queue_max: int = QUEUE_MAX) -> None:
        self.lost_bytes = 0
        """Output that did not get into the file."""
        self._path = path
        self._queue_max = queue_max
        self._pending = bytearray()
        self._writing = 0
        """Bytes that the thread has taken and not written."""
        self._closing = threading.Event()
        self._changed = threading.Condition()
        self._file: int | None = open_log(path)
        self._failing = False
        # A daemon, since a disk that hangs must not keep the process from its end.
        self._thread = threading.Thread(target=self._run, name="uart-log", daemon=True)
        self._thread.start()

    def append(self, data: bytes) -> None:
        """Write data soon; never wait for the disk."""
        with self._changed:
            if self._closing.is_set() or self._waiting + len(data) > self._queue_max:
                self.lost_bytes += len(data)
                return
            self._pending += data
            self._changed.notify_all()

    def flush(self) -> bool:
        """Wait until all is written or lost; False when the disk does not answer for long."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting, FLUSH_SECONDS)

    def close(self) -> None:
        """Write what is left; wait for it, but not for ever."""
        with self._changed:
            self._closing.set()
            self._changed.notify_all()
        if self.flush():
            self._thread.join()
        else:
            log.warning("the log file's disk does not answer: its last bytes are lost")

    @property
    def _waiting(self) -> int:
        """Bytes that are not written."""
        return len(self._pending) + self._writing

    # -- On the writing thread --------------------------------------------------------------------

    def _run(self) -> None:
        """Write until there is nothing left at the end."""
        while data := self._next():
            unwritten = self._write(data)
            with self._changed:
                self._writing = 0
                self.lost_bytes += unwritten
                self._changed.notify_all()
            self._closing.wait(PAUSE_SECONDS)
        if self._file is not None:
            os.close(self._file)

    def _next(self) -> bytearray:
        """Wait for output and take all of it; nothing at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._pending or self._closing.is_set())
            data, self._pending = self._pending, bytearray()
            self._writing = len(data)
            return data

    def _write(self, data: bytearray) -> int:
        """Write data; return how many bytes could not be."""
        done = 0
        try:
            file = self._follow()
            with memoryview(data) as view:
                while done < len(view):
                    done += os.write(file, view[done:])
        except OSError as error:
            self._fail(error)
        else:
            self._recover()
        return len(data) - done

    def _follow(self) -> int:
        """Return the file at the path: a new one when the old has gone. Errors: OSError."""
        if self._file is not None and is_at(self._path, self._file):
            return self._file
        if self._file is not None:
            os.close(self._file)
            self._file = None
        self._file = open_log(self._path)
        return self._file

    def _fail(self, error: OSError) -> None:
        """Say once that nothing gets into the file."""
        if not self._failing:
            log.warning(
                "can't write the log file: output is lost to it until that is mended",
                path=str(self._path),
                error=os.strerror(error.errno or 0),
            )
        self._failing = True

    def _recover(self) -> None:
        """Say that the file is written again."""
        if self._failing:
            log.info("the log file is written again", path=str(self._path), lost=self.lost_bytes)
        self._failing = False


def open_log(path: Path) -> int:
    """Open a file to append to, made if it is missing. Errors: OSError."""
    # Non-blocking for the opening alone: a pipe that nobody reads is an error, not a wait.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
    file = os.open(path, flags, MODE)
    os.set_blocking(file, True)
    return file


def is_at(path: Path, file: int) -> bool:
    """Say whether a path still leads to an open file. Errors: OSError."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file))
    except FileNotFoundError:
        return False
