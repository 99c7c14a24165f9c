"""A pseudo-terminal that is the serial port, for programs that open one: picocom, minicom, pexpect.

The master is never closed, and nobody but its users keeps the slave open, so it is known whether
anybody has: what the machine sends while nobody has is dropped, as by a real port. The slave is raw
whenever it is opened: bytes pass as they are.
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
from virtmesh_client.serial.pump import HANG_UP, READ_BYTES, Files, Pump

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from virtmesh_client.serial.models import Event

CLOSED_SECONDS = 0.05
"""How often to look whether somebody has opened it: the kernel tells of closing alone."""


class PseudoTerminal(Files):
    """The master side of a pseudo-terminal."""

    def __init__(self) -> None:
        self._master, slave = os.openpty()
        self.path = os.ttyname(slave)
        """Name of the slave, such as /dev/pts/7."""
        self._given = False
        """True when output was given to a user since it was tidied: he may not have read it."""
        self.dropped = 0
        """Bytes that came while nobody had it open."""
        tty.setraw(self._master)
        self._raw = termios.tcgetattr(self._master)
        # The first close makes the hang-up that says that nobody has it open.
        os.close(slave)
        os.set_blocking(self._master, False)
        super().__init__(self._master, self._master)

    def close(self) -> None:
        """Close the master: whoever has the slave open sees a hang-up."""
        super().close()
        os.close(self._master)

    def read(self) -> bytes:
        """Wait for input, over any number of users; nothing when the wait ends."""
        while not self.ended:
            ready = self.ready(self._master, select.POLLIN)
            if ready & select.POLLIN:
                with contextlib.suppress(BlockingIOError, InterruptedError):
                    return self._take()
            elif ready & HANG_UP:
                self._tidy()
                self.pause(CLOSED_SECONDS)
        return b""

    def write(self, data: bytes) -> None:
        """Write all of it for who has the slave open; what nobody has open takes nothing."""
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
                    # Closed since it was asked: the next round drops it.
                    if error.errno != errno.EIO:
                        raise

    def _take(self) -> bytes:
        """Read what is there; of a slave that was closed meanwhile, nothing more comes."""
        try:
            return os.read(self._master, READ_BYTES)
        except OSError as error:
            if error.errno == errno.EIO:
                raise InterruptedError from None
            raise

    def _tidy(self) -> None:
        """Make it for the next user as it was for the first; nobody has it open."""
        with contextlib.suppress(termios.error):
            if termios.tcgetattr(self._master) != self._raw:
                termios.tcsetattr(self._master, termios.TCSANOW, self._raw)
            if self._given:
                self._given = False
                self._forget_unread()

    def _forget_unread(self) -> None:
        """Drop what a user was given and did not read: only the slave's side can."""
        with contextlib.suppress(OSError):
            slave = os.open(self.path, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
            try:
                termios.tcflush(slave, termios.TCIFLUSH)
            finally:
                os.close(slave)


class PtyPump(Pump):
    """Carries between the line and a pseudo-terminal."""

    def take(self, event: Event) -> None:
        """Pass output on."""
        if isinstance(event, Output):
            self.files.write(event.data)


@contextlib.contextmanager
def linked(link: Path | None, target: str) -> Iterator[None]:
    """Keep a symbolic link to the slave, under a name that stays the same.

    A link that is there is replaced. Errors: FileExistsError for anything else.
    """
    if link is None:
        yield
        return
    if os.path.lexists(link) and not link.is_symlink():
        raise FileExistsError(errno.EEXIST, "there is something else than a link", str(link))
    made = link.with_name(f".{link.name}.{os.getpid()}")
    made.symlink_to(target)
    made.replace(link)
    try:
        yield
    finally:
        # Another one may have taken the name over.
        with contextlib.suppress(OSError):
            if str(link.readlink()) == target:
                link.unlink()
