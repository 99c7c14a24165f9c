"""Wakes the main thread out of a wait that a signal came too early for.

Python notes a signal, and runs its handler when the main thread next runs Python code. A signal
that arrives between the last look and the system call of a wait without limit, or at another
thread, is noted while the wait begins: nothing would end it. Here a thread hears of each signal,
and sends the main thread another one, which does nothing but end its system call.
"""

from __future__ import annotations

import os
import signal
import threading
import time

NUDGE = "SIGURG"
"""Its default is to do nothing, and nothing of ours sends it."""
PAUSES_SECONDS = (0.02, 0.1, 0.5)
"""The main thread may be on its way into the wait, so that it is woken more than once."""


def wake_main_thread() -> None:
    """From now on, a wait of this thread, the main one, ends soon after a signal with a handler.

    Where the system can't signal a thread, nothing happens.
    """
    number = getattr(signal, NUDGE, None)
    if number is None or not hasattr(signal, "pthread_kill"):
        return
    signal.signal(number, _do_nothing)
    heard, write = os.pipe()
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    arguments = (heard, number, threading.get_ident())
    threading.Thread(target=_nudge, args=arguments, name="signals", daemon=True).start()


def _nudge(heard: int, number: int, main: int) -> None:
    """Interrupt the system calls of the main thread after each signal but our own."""
    while numbers := os.read(heard, 64):
        if any(one != number for one in numbers):
            for seconds in PAUSES_SECONDS:
                time.sleep(seconds)
                signal.pthread_kill(main, number)


def _do_nothing(*_: object) -> None:
    """Handle a nudge: Python looks at the signals before it, and that is all."""
