"""The window of a person: raw while a console runs, and as it was afterwards."""

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
"""Colours, cursor, wrapping, keypad, character set, mouse and paste as a shell wants them."""
ENTER_OTHER_SCREEN = (b"\x1b[?1049h", b"\x1b[?1047h", b"\x1b[?47h")
LEAVE_OTHER_SCREEN = (b"\x1b[?1049l", b"\x1b[?1047l", b"\x1b[?47l")
SEQUENCE_BYTES = 8
"""The longest of these."""


class Screen:
    """Follows what a window was told, so that it can be told the opposite."""

    def __init__(self) -> None:
        self._other: bytes | None = None
        self._tail = b""

    def see(self, data: bytes) -> None:
        """Look at output."""
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
        """What makes the window usable for a shell again."""
        return (self._other or b"") + RESET


@contextlib.contextmanager
def screen_restored(file: int) -> Iterator[Screen]:
    """Give the body a screen to follow, and reset it however the body ends, where it is one."""
    screen = Screen()
    try:
        yield screen
    finally:
        if os.isatty(file):
            with contextlib.suppress(OSError):
                os.write(file, screen.reset + b"\r\n")


@contextlib.contextmanager
def raw_window(file: int) -> Iterator[None]:
    """Make a terminal raw: every key is input, also Ctrl-C; restored however the body ends.

    Also after a stop and `fg`. Where the terminal is gone (SIGHUP) there is nothing to restore.
    """
    before = termios.tcgetattr(file)

    def make_raw(*_signal: object) -> None:
        # It stops us in the background; the next SIGCONT cuts it short, and comes here again.
        with contextlib.suppress(termios.error):
            tty.setraw(file, termios.TCSADRAIN)

    handler = signal.getsignal(signal.SIGCONT)
    try:
        # Without a handler yet, so that it is taken up again when it stopped us.
        tty.setraw(file, termios.TCSADRAIN)
        signal.signal(signal.SIGCONT, make_raw)
        yield
    finally:
        signal.signal(signal.SIGCONT, handler)
        with contextlib.suppress(termios.error):
            # What was typed and not read is not for the shell.
            termios.tcsetattr(file, termios.TCSAFLUSH, before)
