"""The user's terminal: in raw mode while a console runs, and restored afterwards."""

from __future__ import annotations

import contextlib
import os
import signal
import termios
import tty
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

RESET = (
    b"\x1b[0m\x1b[?25h\x1b[?7h\x1b[?1l\x1b>\x1b(B\x0f"
    b"\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?2004l"
)
"""Resets colours, cursor, wrapping, keypad, character set, mouse and paste modes for a shell."""
ENTER_OTHER_SCREEN = (b"\x1b[?1049h", b"\x1b[?1047h", b"\x1b[?47h")
LEAVE_OTHER_SCREEN = (b"\x1b[?1049l", b"\x1b[?1047l", b"\x1b[?47l")
"""Sequences that switch to the alternate screen of a terminal, and back."""
SEQUENCE_BYTES = 8
"""Length of the longest of these sequences."""


class ScreenTracker:
    """Tracks whether output has switched the terminal to its alternate screen."""

    def __init__(self) -> None:
        self._other: bytes | None = None
        self._tail = b""

    def see(self, data: bytes) -> None:
        """Search output for the sequences. They may be split between two calls."""
        text = self._tail + data
        self._tail = text[-(SEQUENCE_BYTES - 1) :]
        last = -1
        for enter, leave in zip(ENTER_OTHER_SCREEN, LEAVE_OTHER_SCREEN, strict=True):
            place = text.rfind(enter)
            if place > last:
                self._other, last = leave, place
            if text.rfind(leave) > max(last, place):
                self._other, last = None, text.rfind(leave)

    @property
    def reset(self) -> bytes:
        """Sequences that make the terminal usable for a shell again."""
        return (self._other or b"") + RESET


@contextlib.contextmanager
def terminal_restored(file: int) -> Iterator[ScreenTracker]:
    """Yield a tracker for output to a terminal, and reset the terminal at the end.

    If `file` is not a terminal, nothing is reset.
    """
    screen = ScreenTracker()
    try:
        yield screen
    finally:
        if os.isatty(file):
            with contextlib.suppress(OSError):
                os.write(file, screen.reset + b"\r\n")


@contextlib.contextmanager
def raw_output(file: int) -> Iterator[None]:
    """Let a terminal show bytes as they are, and restore it at the end. Input is as before.

    A machine ends its lines with CR LF; a terminal that makes CR LF of each LF would show CR CR LF.
    If `file` is not a terminal, nothing is done.
    """
    try:
        before = termios.tcgetattr(file)
    except termios.error:
        yield
        return
    mode = [*before]
    mode[tty.OFLAG] &= ~termios.OPOST
    with contextlib.suppress(termios.error):
        termios.tcsetattr(file, termios.TCSADRAIN, mode)
    try:
        yield
    finally:
        with contextlib.suppress(termios.error):
            termios.tcsetattr(file, termios.TCSADRAIN, before)


@contextlib.contextmanager
def raw_terminal(file: int) -> Iterator[None]:
    """Put a terminal into raw mode, in which every key is input, Ctrl-C too; restore it at the end.

    Raw mode is set again when the process continues after a stop. If the terminal is gone (SIGHUP),
    nothing is restored.
    """
    before = termios.tcgetattr(file)

    def make_raw(*_signal: object) -> None:
        # In the background tcsetattr stops this process. The next SIGCONT calls this handler again.
        with contextlib.suppress(termios.error):
            tty.setraw(file, termios.TCSADRAIN)

    handler = signal.getsignal(signal.SIGCONT)
    try:
        # No handler is set yet, so that the call is restarted if it stopped this process.
        tty.setraw(file, termios.TCSADRAIN)
        signal.signal(signal.SIGCONT, make_raw)
        yield
    finally:
        signal.signal(signal.SIGCONT, handler)
        with contextlib.suppress(termios.error):
            # Drop typed characters that were not read: they are not meant for the shell.
            termios.tcsetattr(file, termios.TCSAFLUSH, before)
