"""The console of a guest: a pseudo-terminal of its own; the user's terminal is never the guest's.

What becomes of the user's files then can't harm a guest. User-mode Linux, for one, hangs its
console up for good at the end of standard input, never reads a file that epoll does not take (such
as /dev/null), and leaves O_NONBLOCK behind on files that others have open too.
"""

from __future__ import annotations

import os
import re
import signal
import termios
import tty
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType

BOOTED = re.compile(rb"virtmesh guest: booted\r*\n")
"""What init.sh says when it hands over: from here on somebody reads the console."""
KEPT_BYTES = 64 << 10
"""How much of what a guest says as it boots is kept."""
LEAVE = b"\x1d"
"""Ctrl-]; so often in a row it stops the guest, as with machinectl."""
LEAVE_TIMES = 3


class Console:
    """The pseudo-terminal. It has the size of the user's window, and follows it.

    A `plain` one has lines that end as in files, for those who add no carriage return themselves.
    """

    def __init__(self, window: int, *, plain: bool = False) -> None:
        self._window = window
        self.master, self._slave = os.openpty()
        self.path = os.ttyname(self._slave)
        # Until the guest sets it up, nothing is echoed and nothing is a signal.
        tty.setraw(self._slave)
        if plain:
            # QEMU and user-mode Linux switch OPOST on again.
            mode = termios.tcgetattr(self._slave)
            mode[tty.OFLAG] &= ~termios.ONLCR
            termios.tcsetattr(self._slave, termios.TCSANOW, mode)

    def __enter__(self) -> Self:
        """Follow the window."""
        self._handler = signal.signal(signal.SIGWINCH, self._follow)
        self._follow()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it: what is left of the guest gets SIGHUP."""
        signal.signal(signal.SIGWINCH, self._handler)
        self.close_slave()
        os.close(self.master)

    def close_slave(self) -> None:
        """Let the master end with the guest; kept open, it did not end before the guest began."""
        if self._slave >= 0:
            os.close(self._slave)
            self._slave = -1

    def _follow(self, _number: int = 0, _frame: FrameType | None = None) -> None:
        """Take the size of the window, if it is one."""
        if os.isatty(self._window):
            termios.tcsetwinsize(self.master, termios.tcgetwinsize(self._window))


class Booting:
    """Looks for the line that says that the guest is up; `then` is called once.

    While it boots, what it says is passed on or, for `hold`, kept back; the newest is in `held`.
    """

    def __init__(self, then: Callable[[], None], *, hold: bool = False) -> None:
        self._then = then
        self._hold = hold
        self.up = False
        self.held = b""

    def __call__(self, data: bytes) -> bytes:
        """Look at output; returns what is passed on."""
        if self.up:
            return data
        text = self.held + data
        found = BOOTED.search(text)
        if found is None:
            self.held = text[-KEPT_BYTES:]
            return b"" if self._hold else data
        self.up = True
        self.held = b""
        self._then()
        return text[found.end() :] if self._hold else data


class Keys:
    """Passes keys on, and looks for the ones that stop the guest."""

    def __init__(self) -> None:
        self._tail = b""

    def __call__(self, data: bytes) -> bytes:
        """Look at input. Errors: KeyboardInterrupt."""
        text = self._tail + data
        if LEAVE * LEAVE_TIMES in text:
            raise KeyboardInterrupt
        self._tail = text[-(LEAVE_TIMES - 1) :]
        return data
