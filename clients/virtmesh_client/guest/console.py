"""The console of a guest: a pseudo-terminal of its own, separate from the user's terminal.

So the state of the user's files can't harm a guest, and a guest can't harm them. User-mode Linux
closes its console at the end of standard input, never reads a file that epoll does not support
(such as /dev/null), and sets O_NONBLOCK on files that other processes have open too.
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
"""The line that init.sh prints at its end. After it, a program in the guest reads the console."""
KEPT_BYTES = 64 << 10
"""Most of the boot messages that is kept."""
LEAVE = b"\x1d"
"""Ctrl-], the key that stops the guest."""
LEAVE_TIMES = 3
"""How often in a row the key must be pressed, as with machinectl."""


class GuestConsole:
    """The pseudo-terminal. It always has the size of the user's terminal, `window`, if it is one.

    Bytes pass as they are: the guest itself ends its lines with CR LF (but see LineEnds).
    """

    def __init__(self, window: int = -1) -> None:
        self._window = window
        self.master, self._slave = os.openpty()
        self.path = os.ttyname(self._slave)
        # Until the guest sets the terminal up, no key is echoed and none makes a signal.
        tty.setraw(self._slave)
        # QEMU and user-mode Linux set OPOST again, so clear ONLCR: CR LF would become CR CR LF.
        mode = termios.tcgetattr(self._slave)
        mode[tty.OFLAG] &= ~termios.ONLCR
        termios.tcsetattr(self._slave, termios.TCSANOW, mode)

    def __enter__(self) -> Self:
        """Begin to follow the size of the user's terminal."""
        self._handler = signal.signal(signal.SIGWINCH, self._follow)
        self._follow()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the pseudo-terminal. Processes of the guest that still run get SIGHUP."""
        signal.signal(signal.SIGWINCH, self._handler)
        self.close_slave()
        os.close(self.master)

    def close_slave(self) -> None:
        """Close the slave, so that the master reports its end when the guest ends.

        The slave is open until then, since the master would report an end before the guest starts.
        """
        if self._slave >= 0:
            os.close(self._slave)
            self._slave = -1

    def _follow(self, _number: int = 0, _frame: FrameType | None = None) -> None:
        """Copy the size of the user's terminal, if it is one."""
        if os.isatty(self._window):
            termios.tcsetwinsize(self.master, termios.tcgetwinsize(self._window))


class LineEnds:
    """Adds the CR to line ends that lack it: those of messages of the kernel of user-mode Linux.

    Other line ends are CR LF already, as the guest's terminal makes them.
    """

    def __init__(self) -> None:
        self._after_cr = False

    def __call__(self, data: bytes) -> bytes:
        """Return output with CR LF at the end of each line."""
        if not data:
            return data
        first = b"\n" if self._after_cr and data[:1] == b"\n" else b""
        self._after_cr = data[-1:] == b"\r"
        return first + re.sub(rb"(?<!\r)\n", b"\r\n", data[len(first) :])


class BootDetector:
    """Searches the console for the line that says that the guest has booted, then calls `then`.

    Until then output is passed on, or with `hold` kept back. `held` has the newest part of it.
    """

    def __init__(self, then: Callable[[], None], *, hold: bool = False) -> None:
        self._then = then
        self._hold = hold
        self.up = False
        self.held = b""

    def __call__(self, data: bytes) -> bytes:
        """Search output. Returns the output to pass on."""
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


class StopKeyDetector:
    """Searches the input for the keys that stop the guest."""

    def __init__(self) -> None:
        self._tail = b""

    def __call__(self, data: bytes) -> bytes:
        """Search input, and return it. Errors: KeyboardInterrupt when the keys were pressed."""
        text = self._tail + data
        if LEAVE * LEAVE_TIMES in text:
            raise KeyboardInterrupt
        self._tail = text[-(LEAVE_TIMES - 1) :]
        return data
