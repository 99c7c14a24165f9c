"""Watches the image of a disk while it is served: failed requests, and what others do to its file.

Everything runs on a thread of its own: a file system that hangs keeps nobody else waiting.
"""

from __future__ import annotations

import stat
import threading
from typing import TYPE_CHECKING

import structlog

from virtmesh.blk.image_users import find_loop
from virtmesh.blk.write_log import write_log_trouble
from virtmesh_common.blk.failure import RequestFailure

if TYPE_CHECKING:
    from pathlib import Path

    from virtmesh_native import BlkDevice

log = structlog.get_logger(__name__)

PERIOD_S = 2.0
"""Seconds between two looks at the file."""
PAUSE_S = 0.2
"""Seconds without reports after some: a driver can make requests fail without end."""
END_S = 3.0
"""Longest wait for the thread at the end: it may be waiting for a file system that hangs."""


class ImageWatch:
    """Looks at the image of an open disk. `start` begins, `stop` and `join` end it."""

    def __init__(self, disk: BlkDevice, image: Path, *, read_only: bool) -> None:
        self.trouble = ""
        """What has become of the image, as far as it is known; empty while all is well."""
        self._disk = disk
        self._image = image.absolute()
        self._read_only = read_only
        self._identity = disk.image_identity
        self._is_file = not disk.is_block_node
        self._is_holding = False
        """Requests were held at the last look."""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="image-watch", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Tell the thread to end, before the disk is closed: that wakes it."""
        self._ended.set()

    def join(self) -> None:
        """Wait for the thread's end, after the disk is closed."""
        if self._thread.is_alive():
            self._thread.join(END_S)

    def look(self) -> str:
        """Look at the file now, log what is new, and return what has become of it. It may wait."""
        trouble = self._find_trouble()
        if trouble != self.trouble:
            if trouble:
                log.warning("the image is in trouble", image=str(self._image), trouble=trouble)
            else:
                log.info("the image is well again", image=str(self._image))
            self.trouble = trouble
        return trouble

    def _run(self) -> None:
        """Report failures as they come, and look at the file between them."""
        seen = 0
        try:
            while True:
                failures = self._disk.wait_failures(seen, PERIOD_S)
                for values in failures:
                    failure = RequestFailure(*values)
                    seen = failure.number
                    self._report(failure)
                if self._ended.wait(PAUSE_S if failures else 0):
                    return
                self._tell_held()
                self.look()
        except ValueError:
            if not self._ended.is_set():  # Else the disk was closed: its methods raise that.
                raise

    def _report(self, failure: RequestFailure) -> None:
        """Write a failure to the log, which limits lines of one kind."""
        log.error(
            "a request failed",
            image=str(self._image),
            type=failure.type,
            sector=failure.sector,
            bytes=failure.bytes,
            cause=failure.cause,
            errno=failure.errno,
            text=failure.text,
        )

    def _tell_held(self) -> None:
        """Write to the log when requests are held, and when none is any more."""
        held = self._disk.held
        if held and not self._is_holding:
            log.warning("requests are held, and tried again", image=str(self._image), held=held)
        elif self._is_holding and not held:
            log.info("no request is held any more", image=str(self._image))
        self._is_holding = bool(held)

    def _find_trouble(self) -> str:
        """Say what is wrong with the file; nothing if all is well."""
        try:
            about = self._image.stat()
        except FileNotFoundError:
            return (
                "deleted or renamed: the disk goes on with the file that has no name any more,"
                " and its data is gone when the service ends"
            )
        except OSError as error:
            return f"the path can't be looked at: {error.strerror}"
        if (about.st_dev, about.st_ino) != self._identity:
            return (
                "replaced: another file has its path now, and the disk goes on with the old one,"
                " whose data is gone when the service ends"
            )
        if self._is_file and stat.S_ISREG(about.st_mode):
            capacity = self._disk.capacity
            if about.st_size < capacity:
                return f"cut off: the file has {about.st_size} bytes, the disk {capacity}"
        loop = find_loop(self._image, read_only=self._read_only)
        if loop is not None:
            return f"in use by the loop device {loop} too, which honours no lock"
        return write_log_trouble(self._disk)
