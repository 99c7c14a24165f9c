"""The log file of a serial line. All output of the machine is appended to it unchanged.

Threads: the event loop's thread calls `append` and `close`; one writing thread writes the file.
Invariant: `_pending`, `_writing`, `_closing` and `lost_bytes` change only while `_changed` is held.
Once the writing thread has begun, no other thread uses the file. It pauses after each write, since
a busy thread slows the event loop down.

A file that is moved or removed is created again at its path, so that log rotation needs no signal.
Output that can't be written is missing from the file and counted; the device goes on.
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
"""Most bytes of output that wait to be written."""
FLUSH_SECONDS = 10.0
"""Longest time that `flush` waits for the disk."""
PAUSE_SECONDS = 0.02
"""Pause between two writes; output of that time is written together."""
MODE = 0o640
"""Permissions of a new file. The output of a console may be confidential."""


class LogFile:
    """A file that a thread writes. Errors: OSError if the file can't be opened."""

    def __init__(self, path: Path, queue_max: int = QUEUE_MAX) -> None:
        self.lost_bytes = 0
        """Bytes of output that are missing from the file."""
        self._path = path
        self._queue_max = queue_max
        self._pending = bytearray()
        self._writing = 0
        """Bytes that the thread has taken and not yet written."""
        self._closing = threading.Event()
        self._changed = threading.Condition()
        self._file: int | None = open_log(path)
        self._failing = False
        # A daemon thread: a disk that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="uart-log", daemon=True)
        self._thread.start()

    def append(self, data: bytes) -> None:
        """Queue data for the writing thread. Never waits for the disk."""
        with self._changed:
            if self._closing.is_set() or self._waiting + len(data) > self._queue_max:
                self.lost_bytes += len(data)
                return
            self._pending += data
            self._changed.notify_all()

    def flush(self) -> bool:
        """Wait until all output is written or lost. Returns False after FLUSH_SECONDS."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting, FLUSH_SECONDS)

    def close(self) -> None:
        """Write the rest, and end the thread. Waits at most FLUSH_SECONDS for the disk."""
        with self._changed:
            self._closing.set()
            self._changed.notify_all()
        if self.flush():
            self._thread.join()
        else:
            log.warning("the disk of the log file does not answer: the last output may be missing")

    @property
    def _waiting(self) -> int:
        """Bytes that are not written yet."""
        return len(self._pending) + self._writing

    # -- On the writing thread --------------------------------------------------------------------

    def _run(self) -> None:
        """Write output until `close` was called and all of it is written."""
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
        """Wait for output, and take all of it. Empty once the file is closing and all is taken."""
        with self._changed:
            self._changed.wait_for(lambda: self._pending or self._closing.is_set())
            data, self._pending = self._pending, bytearray()
            self._writing = len(data)
            return data

    def _write(self, data: bytearray) -> int:
        """Write data; return how many bytes could not be written."""
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
        """Return the file at the path; create it again if it is gone. Errors: OSError."""
        if self._file is not None and is_at(self._path, self._file):
            return self._file
        if self._file is not None:
            os.close(self._file)
            self._file = None
        self._file = open_log(self._path)
        return self._file

    def _fail(self, error: OSError) -> None:
        """Log once that the file can't be written."""
        if not self._failing:
            log.warning(
                "the log file can't be written: output is missing from it until that is mended",
                path=str(self._path),
                error=os.strerror(error.errno or 0),
            )
        self._failing = True

    def _recover(self) -> None:
        """Log that the file can be written again, if it could not."""
        if self._failing:
            log.info("the log file is written again", path=str(self._path), lost=self.lost_bytes)
        self._failing = False


def open_log(path: Path) -> int:
    """Open a file for appending; create it if it is missing. Errors: OSError."""
    # Only the opening does not block: a pipe that nobody reads is an error, not a wait.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
    file = os.open(path, flags, MODE)
    os.set_blocking(file, True)
    return file


def is_at(path: Path, file: int) -> bool:
    """Return True if a path still leads to an open file. Errors: OSError."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file))
    except FileNotFoundError:
        return False
