"""The run folder of a machine that `virtmesh up` started. It has sockets, logs and state.json."""

from __future__ import annotations

import fcntl
import json
import os
import stat
import warnings
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import platformdirs

from virtmesh_common.errors import BadMachine

VARIABLE = "VIRTMESH_RUN_DIR"
STATE = "state.json"
LOCK = "lock"


@dataclass(frozen=True)
class ProcessState:
    """One process of a machine."""

    name: str
    kind: str
    """"kernel", "supervisor", or the kind of device."""
    pid: int
    start_ticks: int
    """Start time of /proc/PID/stat. It differs if another process gets the same pid."""
    address: str = ""
    """Address of its gRPC services."""
    metrics: str = ""
    """Address of /metrics as HOST:PORT; empty without metrics."""
    log: str = ""
    """Path of its log file."""
    restarts: int = 0
    """How often the supervisor has restarted it."""

    @property
    def alive(self) -> bool:
        """True while this process runs, and not only another one with its pid."""
        return start_ticks(self.pid) == self.start_ticks


@dataclass(frozen=True)
class MachineState:
    """The content of state.json."""

    name: str
    run_dir: str
    address: str
    status: str
    """"starting", "ready" or "stopping"."""
    supervisor: ProcessState
    processes: tuple[ProcessState, ...] = field(default=())

    @property
    def alive(self) -> list[ProcessState]:
        """The running processes, the supervisor first."""
        return [one for one in (self.supervisor, *self.processes) if one.alive]


def start_ticks(pid: int) -> int | None:
    """Return the start time of a process in clock ticks since boot; None if it does not run."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name, field 2, may contain any character. The state follows its last parenthesis.
    fields = text[text.rindex(")") + 2 :].split()
    if fields[0] in {"Z", "X"}:
        return None
    return int(fields[19])


def base() -> Path:
    """Return the folder of this user for run folders."""
    with warnings.catch_warnings():
        # Without $XDG_RUNTIME_DIR, platformdirs warns and returns a folder in /tmp, which `prepare`
        # checks.
        warnings.simplefilter("ignore")
        return Path(platformdirs.user_runtime_dir("virtmesh", appauthor=False))


def default(name: str) -> Path:
    """Return the run folder of a machine: $VIRTMESH_RUN_DIR, or the one with its name."""
    given = os.environ.get(VARIABLE)
    return Path(given).absolute() if given else base() / name


def prepare(folder: Path) -> None:
    """Make a run folder that only this user can enter.

    Errors: BadMachine if another user owns the folder or can replace it, or if it has other files.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
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
    scratch.write_text(json.dumps({"version": 1, **asdict(state)}, indent=2) + "\n")
    scratch.replace(folder / STATE)


def load(folder: Path) -> MachineState | None:
    """Read state.json; None if it does not exist or is not valid."""
    try:
        raw: dict[str, Any] = json.loads((folder / STATE).read_text())
        raw.pop("version")
        raw["supervisor"] = ProcessState(**raw["supervisor"])
        raw["processes"] = tuple(ProcessState(**one) for one in raw["processes"])
        return MachineState(**raw)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def running() -> list[MachineState]:
    """Return the running machines of this user, sorted by name."""
    given = os.environ.get(VARIABLE)
    if given:
        folders = [Path(given)]
    else:
        try:
            folders = sorted(base().iterdir())
        except OSError:
            folders = []
    states = [state for folder in folders if (state := load(folder))]
    return [state for state in states if state.alive]
