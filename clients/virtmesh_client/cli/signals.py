"""What Ctrl-C, SIGTERM and SIGHUP do, from the first import to the end of the process.

While Python imports, and while it ends, a signal ends the process at once, as any process without a
handler: there is nothing to tidy up. While a command runs, a signal raises KeyboardInterrupt in it:
a copy removes its half file, and says how far it came.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, ClassVar

from virtmesh_client.cli.wake_up import wake_main_thread

if TYPE_CHECKING:
    from types import FrameType

NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
GRACE_SECONDS = 1.0
"""How long a command may tidy up undisturbed, however often Ctrl-C is pressed meanwhile."""
TIDY_SECONDS = 20.0
"""How long it may tidy up at all: an interrupted library may have left a lock taken."""
AGAIN_SECONDS = 0.01
INTERRUPTED = 130
LAST_LINE = b"virtmesh: interrupted, and ended before all was tidied up\n"


class Signals:
    """The signals that end this process. Those that its caller ignores, as nohup does, stay so."""

    have_interrupted: ClassVar[bool] = False
    """A command of this process was interrupted."""

    def __init__(self) -> None:
        there = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]
        ours = (signal.SIG_DFL, signal.default_int_handler)
        self._numbers = [number for number in there if signal.getsignal(number) in ours]
        self._first: float | None = None
        """When the first signal came, by time.monotonic."""

    def end_this_process(self) -> None:
        """From now on, a signal ends this process at once."""
        for number in self._numbers:
            signal.signal(number, signal.SIG_DFL)

    def interrupt_this_thread(self) -> None:
        """From now on, a signal raises KeyboardInterrupt in this thread, the main one.

        More of them are ignored for a while, so that they don't interrupt the tidying up; the next
        one after that ends the process.
        """
        for number in self._numbers:
            signal.signal(number, self._interrupt)
        sys.unraisablehook = self._raise_again
        threading.excepthook = self._forget
        wake_main_thread()

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        """Handle a signal."""
        now = time.monotonic()
        Signals.have_interrupted = True
        if self._first is None:
            self._first = now
            if hasattr(signal, "setitimer"):
                signal.signal(signal.SIGALRM, self._give_up)
                signal.setitimer(signal.ITIMER_REAL, TIDY_SECONDS)
            raise KeyboardInterrupt
        if now - self._first > GRACE_SECONDS:
            self._give_up()

    def _give_up(self, *_: object) -> None:
        """End this process at once, whatever it still does."""
        os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, LAST_LINE)
        os._exit(INTERRUPTED)

    def _forget(self, what: threading.ExceptHookArgs) -> None:
        """Print what a thread raises, unless its call was interrupted."""
        if self._first is None:
            threading.__excepthook__(what)

    def _raise_again(self, what: sys.UnraisableHookArgs) -> None:
        """Interrupt again where Python had to swallow it, such as in a finalizer."""
        if issubclass(what.exc_type, KeyboardInterrupt):
            self._first = None
            # Not from here: Python would swallow it again.
            threading.Timer(AGAIN_SECONDS, _thread.interrupt_main).start()
        else:
            sys.__unraisablehook__(what)
