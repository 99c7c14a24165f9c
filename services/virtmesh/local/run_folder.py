"""Making, locking and writing the run folder of a machine: what `virtmesh up` does to it.

Who only looks for machines, or stops them, reads it (virtmesh_client.local.rundir).
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
from dataclasses import asdict
from pathlib import Path

from virtmesh_client.local.rundir import STATE, MachineState, load
from virtmesh_common.errors import BadMachine

LOCK = "lock"


def prepare(folder: Path) -> None:
    """Make a run folder that only this user can enter.

    Errors: BadMachine if another user owns the folder or can replace it, or if it has other files.
    """
    # So are the folders above it that are missing. One may be $XDG_RUNTIME_DIR: where others may
    # enter that, it is not used, and the machine would not be found again.
    for missing in [one for one in (*reversed(folder.parents), folder) if not one.exists()]:
        missing.mkdir(mode=0o700, exist_ok=True)
    about = folder.stat()
    if about.st_uid != os.geteuid():
        raise BadMachine(f"{folder} belongs to another user: choose another folder with --run-dir")
    if about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise BadMachine(f"other users may write into {folder}: run chmod 700 {folder}")
    for parent in folder.parents:
        about = parent.stat()
        open_to_all = about.st_mode & stat.S_IWOTH and not about.st_mode & stat.S_ISVTX
        if open_to_all or about.st_uid not in {0, os.geteuid()}:
            raise BadMachine(
                f"other users can replace {folder}, since they may write into {parent}: choose"
                " another folder with --run-dir"
            )
    if not (folder / LOCK).exists():
        # Files and sockets in a run folder get replaced and removed, so it must have no others.
        if any(folder.iterdir()):
            raise BadMachine(
                f"{folder} is not a run folder and has other files: choose a new folder with"
                " --run-dir"
            )
        (folder / LOCK).touch(mode=0o600)


class RunFolderLock:
    """The lock of a run folder. The kernel releases it when the process that has it ends."""

    def __init__(self, folder: Path) -> None:
        """Take the lock. Errors: BlockingIOError if another process has it."""
        self._descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            os.close(self._descriptor)
            raise

    def release(self) -> None:
        """Release the lock."""
        os.close(self._descriptor)


def save(state: MachineState) -> None:
    """Write state.json atomically."""
    folder = Path(state.run_dir)
    scratch = folder / f".{STATE}.{os.getpid()}"
    text = json.dumps({"version": 1, **asdict(state)}, indent=2) + "\n"
    scratch.write_text(text, encoding="utf-8")
    scratch.replace(folder / STATE)


def take(folder: Path) -> RunFolderLock:
    """Take the run folder. Errors: BadMachine when a machine runs in it."""
    state = load(folder)
    try:
        lock = RunFolderLock(folder)
    except BlockingIOError:
        who = f"{state.name} (pid {state.supervisor.pid})" if state else "a machine"
        raise BadMachine(
            f"{who} runs in {folder} already: stop it with `virtmesh down`, or start another"
            " with --name or --run-dir"
        ) from None
    if state and state.alive:
        lock.release()
        pids = ", ".join(str(process.pid) for process in state.alive)
        raise BadMachine(
            f"processes of an earlier {state.name} still run (pid {pids}), their supervisor was"
            " killed: stop them with `virtmesh down`"
        )
    return lock
