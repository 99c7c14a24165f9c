"""A pseudo-terminal that stands for the serial port: for picocom, minicom, pexpect and the like.

The master stays open. Only the user's programs hold the slave open, so the master can tell whether
any program uses it. Output that arrives while no program has the slave open is dropped, as with a
real port. The slave is in raw mode whenever a program opens it, so bytes pass unchanged.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import termios
import tty
from typing import TYPE_CHECKING

from virtmesh_client.serial.models import Output
from virtmesh_client.serial.pump import HANG_UP, READ_BYTES, FilePair, Pump

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from virtmesh_client.serial.models import SerialEvent

CLOSED_SECONDS = 0.05
"""How often to check whether a program has opened the slave. The kernel reports only closing."""


class PseudoTerminal(FilePair):
    """The master side of a pseudo-terminal."""

    def __init__(self) -> None:
        self._master, slave = os.openpty()
        self.path = os.ttyname(slave)
        """Path of the slave, such as /dev/pts/7."""
        self._given = False
        """True if output was written since the last reset. A program may not have read it."""
        self.dropped = 0
        """Bytes that were dropped because no program had the slave open."""
        tty.setraw(self._master)
        self._raw = termios.tcgetattr(self._master)
        # After this close the master reports a hang-up until a program opens the slave.
        os.close(slave)
        os.set_blocking(self._master, False)
        super().__init__(self._master, self._master)

    def close(self) -> None:
        """Close the master. Programs that have the slave open see a hang-up."""
        super().close()
        os.close(self._master)

    def read(self) -> bytes:
        """Wait for input of any program, one after the other. Returns b"" after `end`."""
        while not self.ended:
            ready = self.ready(self._master, select.POLLIN)
            if ready & select.POLLIN:
                with contextlib.suppress(BlockingIOError, InterruptedError):
                    return self._take()
            elif ready & HANG_UP:
                self._reset()
                self.pause(CLOSED_SECONDS)
        return b""

    def write(self, data: bytes) -> None:
        """Write all data if a program has the slave open; else drop it."""
        view = memoryview(data)
        while view and not self.ended:
            ready = self.ready(self._master, select.POLLOUT)
            if ready & HANG_UP:
                self.dropped += len(view)
                return
            with contextlib.suppress(BlockingIOError):
                try:
                    view = view[os.write(self._master, view) :]
                    self._given = True
                except OSError as error:
                    # The slave was closed after the poll: the next round drops the data.
                    if error.errno != errno.EIO:
                        raise

    def _take(self) -> bytes:
        """Read the available input. Errors: InterruptedError if the slave was closed meanwhile."""
        try:
            return os.read(self._master, READ_BYTES)
        except OSError as error:
            if error.errno == errno.EIO:
                raise InterruptedError from None
            raise

    def _reset(self) -> None:
        """Prepare the slave for the next program: raw mode, and no unread output."""
        with contextlib.suppress(termios.error):
            if termios.tcgetattr(self._master) != self._raw:
                termios.tcsetattr(self._master, termios.TCSANOW, self._raw)
            if self._given:
                self._given = False
                self._flush_unread()

    def _flush_unread(self) -> None:
        """Drop output that no program read. Only a descriptor of the slave can do that."""
        with contextlib.suppress(OSError):
            slave = os.open(self.path, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
            try:
                termios.tcflush(slave, termios.TCIFLUSH)
            finally:
                os.close(slave)


class PtyPump(Pump):
    """Copies bytes between the line and a pseudo-terminal."""

    def take(self, event: SerialEvent) -> None:
        """Write output to the pseudo-terminal. Other events do not matter there."""
        if isinstance(event, Output):
            self.files.write(event.data)


@contextlib.contextmanager
def symlink_kept(link: Path | None, target: str) -> Iterator[None]:
    """Keep a symbolic link to the slave while the body runs. Without `link`, do nothing.

    An existing link is replaced. Errors: FileExistsError if the path is anything but a link,
    OSError with the path of the link.
    """
    if link is None:
        yield
        return
    if os.path.lexists(link) and not link.is_symlink():
        message = "the path exists and is not a symbolic link: choose another path"
        raise FileExistsError(errno.EEXIST, message, str(link))
    made = link.with_name(f".{link.name}.{os.getpid()}")
    try:
        made.symlink_to(target)
        made.replace(link)
    except OSError as error:  # it names the target first
        raise OSError(error.errno, error.strerror, str(link)) from error
    try:
        yield
    finally:
        # Another process may have replaced the link in the meantime.
        with contextlib.suppress(OSError):
            if str(link.readlink()) == target:
                link.unlink()
