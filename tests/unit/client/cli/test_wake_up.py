"""A signal ends a wait without limit, also when it came before the wait or at another thread."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

SECONDS = 30.0
PROGRAM = """
import os, select, signal, sys, threading
from virtmesh_client.cli.signals import Signals

signals = Signals()
signals.interrupt_this_thread()
never, _ = os.pipe()
numbers = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}

def say():
    # The main thread takes no signal: the system gives it to this one, so that no wait is
    # interrupted, just as when it comes a moment before the wait.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
    print("waits", flush=True)
    select.select([never], [], [])

signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
waits = {
    "select": lambda: select.select([never], [], []),
    "event": lambda: threading.Event().wait(),
    "read": lambda: os.read(never, 1),
}
try:
    threading.Thread(target=say, daemon=True).start()
    waits[sys.argv[1]]()
except KeyboardInterrupt:
    os._exit(130)
os._exit(1)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("wait", ["select", "event", "read"])
def test_a_wait_that_no_signal_interrupts_ends(wait: str, number: signal.Signals) -> None:
    """It is the thread of the signals that ends it."""
    command = [sys.executable, "-c", PROGRAM, wait]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "waits\n"
            process.send_signal(number)
            assert process.wait(SECONDS) == 130
        finally:
            process.kill()
