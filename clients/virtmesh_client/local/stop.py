"""Stop a machine from another process: `virtmesh down`."""

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

    from virtmesh_client.local.rundir import MachineState, ProcessState

SUPERVISOR_SECONDS = 30.0
"""Longer than a supervisor needs to stop its processes, and to kill those that do not stop."""
PROCESS_SECONDS = 10.0


def stop_machine(state: MachineState) -> list[str]:
    """Stop all processes of a machine. Returns the names of those that had to be killed.

    A process that only has the pid of one of them is not touched.
    """
    killed = []
    if not stop_processes([state.supervisor], SUPERVISOR_SECONDS):
        killed.append("supervisor")
    # The supervisor stops its processes. Stop those that are left, if it failed or was killed.
    state = rundir.load(Path(state.run_dir)) or state
    kernels = [one for one in state.processes if one.kind in rundir.KERNELS]
    devices = [one for one in state.processes if one.kind not in rundir.KERNELS]
    for group in (kernels, devices):
        if not stop_processes(group, PROCESS_SECONDS):
            killed += [one.name for one in group]
    with contextlib.suppress(FileNotFoundError):
        rundir.clean(Path(state.run_dir))
    return killed


def stop_processes(processes: Sequence[ProcessState], seconds: float) -> bool:
    """Stop processes, and kill them after `seconds`. Returns True if none had to be killed."""
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
    """Yield a pidfd of a process, which never refers to another one; None if it has ended."""
    try:
        handle = os.pidfd_open(process.pid)
    except (ProcessLookupError, ValueError):
        yield None
        return
    try:
        # Compare after the open: from here on the pidfd shows if the process ends.
        yield handle if process.alive else None
    finally:
        os.close(handle)


def send(handle: int, number: signal.Signals) -> None:
    """Send a signal to a process, which may have ended."""
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(handle, number)


def wait_for(handles: Sequence[int], seconds: float) -> list[int]:
    """Wait up to `seconds` for each process to end. Returns those that did not."""
    left = []
    for handle in handles:
        ready, _, _ = select.select([handle], [], [], seconds)
        if not ready:
            left.append(handle)
    return left
