"""Stopping a machine from outside: `virtmesh down`."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from virtmesh_client.local import rundir

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from virtmesh_client.local.rundir import ProcessState, State

SUPERVISOR_SECONDS = 30.0
"""More than a supervisor takes to stop all it has, and to kill what does not stop."""
PROCESS_SECONDS = 10.0


def stop_machine(state: State) -> list[str]:
    """Stop every process of a machine; returns the names of those that had to be killed.

    A pid that another process uses by now is left alone.
    """
    killed = []
    if not stop_processes([state.supervisor], SUPERVISOR_SECONDS):
        killed.append("supervisor")
    # The supervisor has stopped its processes; these are what it could not, or never had the time.
    state = rundir.load(Path(state.run_dir)) or state
    kernels = [one for one in state.processes if one.kind == "kernel"]
    devices = [one for one in state.processes if one.kind != "kernel"]
    for group in (kernels, devices):
        if not stop_processes(group, PROCESS_SECONDS):
            killed += [one.name for one in group]
    with contextlib.suppress(FileNotFoundError):
        rundir.clean(Path(state.run_dir))
    return killed


def stop_processes(processes: Sequence[ProcessState], seconds: float) -> bool:
    """Stop processes, and kill them when `seconds` are over; returns whether none was killed."""
    with contextlib.ExitStack() as stack:
        handles = [
            handle
            for process in processes
            if (handle := stack.enter_context(open_process(process))) is not None
        ]
        for handle in handles:
            send(handle, signal.SIGTERM)
        left = wait_for(handles, seconds)
        for handle in left:
            send(handle, signal.SIGKILL)
        wait_for(left, seconds)
        return not left


@contextlib.contextmanager
def open_process(process: ProcessState) -> Iterator[int | None]:
    """Open a pidfd of a process, which can never mean another one; None when it is gone."""
    try:
        handle = os.pidfd_open(process.pid)
    except (ProcessLookupError, ValueError):
        yield None
        return
    try:
        # Compared after the open: from here on the pid can't be given to another process unseen.
        yield handle if process.alive else None
    finally:
        os.close(handle)


def send(handle: int, number: signal.Signals) -> None:
    """Send a signal to a process that may be gone."""
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(handle, number)


def wait_for(handles: Sequence[int], seconds: float) -> list[int]:
    """Wait until processes end; returns those that did not."""
    left = []
    for handle in handles:
        ready, _, _ = select.select([handle], [], [], seconds)
        if not ready:
            left.append(handle)
    return left
