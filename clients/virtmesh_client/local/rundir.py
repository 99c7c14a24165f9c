"""The run folder of a machine started by `virtmesh up`: its sockets, logs and state.json."""

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
    """When it started, as /proc/PID/stat says: a pid that is used again has another."""
    address: str = ""
    metrics: str = ""
    """Address of /metrics as HOST:PORT; empty without one."""
    log: str = ""
    restarts: int = 0

    @property
    def alive(self) -> bool:
        """True while this very process runs."""
        return start_ticks(self.pid) == self.start_ticks


@dataclass(frozen=True)
class State:
    """What state.json holds."""

    name: str
    run_dir: str
    address: str
    status: str
    """"starting", "ready" or "stopping"."""
    supervisor: ProcessState
    processes: tuple[ProcessState, ...] = field(default=())

    @property
    def alive(self) -> list[ProcessState]:
        """The processes that run, the supervisor first."""
        return [one for one in (self.supervisor, *self.processes) if one.alive]


def start_ticks(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; None when it does not run."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field, the name, may hold anything; the state is the first field behind it.
    fields = text[text.rindex(")") + 2 :].split()
    if fields[0] in {"Z", "X"}:
        return None
    return int(fields[19])


def base() -> Path:
    """Return the folder that holds the run folders of this user."""
    with warnings.catch_warnings():
        # Without $XDG_RUNTIME_DIR it warns and names a folder in /tmp; `prepare` checks that one.
        warnings.simplefilter("ignore")
        return Path(platformdirs.user_runtime_dir("virtmesh", appauthor=False))


def default(name: str) -> Path:
    """Return the run folder of a machine: $VIRTMESH_RUN_DIR, or one by its name."""
    told = os.environ.get(VARIABLE)
    return Path(told).absolute() if told else base() / name


def prepare(folder: Path) -> None:
    """Make a run folder that only this user can enter.

    Errors: BadMachine when another user owns it, or can replace it, or when it is no run folder.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    about = folder.stat()
    if about.st_uid != os.geteuid():
        raise BadMachine(f"{folder} belongs to another user: choose another with --run-dir")
    if about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise BadMachine(f"others may write into {folder}: run chmod 700 {folder}")
    for parent in folder.parents:
        about = parent.stat()
        open_to_all = about.st_mode & stat.S_IWOTH and not about.st_mode & stat.S_ISVTX
        if open_to_all or about.st_uid not in {0, os.geteuid()}:
            raise BadMachine(
                f"others can replace {folder}, since they may write into {parent}: choose another"
                " with --run-dir"
            )
    if not (folder / LOCK).exists():
        # Files are replaced in a run folder, and sockets removed: never those of anything else.
        if any(folder.iterdir()):
            raise BadMachine(f"{folder} holds other files: choose a new folder with --run-dir")
        (folder / LOCK).touch(mode=0o600)


class Lock:
    """The right to run a machine in a folder; it ends with the process that holds it."""

    def __init__(self, folder: Path) -> None:
        """Take it. Errors: BlockingIOError when another process has it."""
        self._descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            os.close(self._descriptor)
            raise

    def release(self) -> None:
        """Give it back."""
        os.close(self._descriptor)


def save(state: State) -> None:
    """Write state.json, whole or not at all."""
    folder = Path(state.run_dir)
    scratch = folder / f".{STATE}.{os.getpid()}"
    scratch.write_text(json.dumps({"version": 1, **asdict(state)}, indent=2) + "\n")
    scratch.replace(folder / STATE)


def load(folder: Path) -> State | None:
    """Read state.json; None when there is none that makes sense."""
    try:
        raw: dict[str, Any] = json.loads((folder / STATE).read_text())
        raw.pop("version")
        raw["supervisor"] = ProcessState(**raw["supervisor"])
        raw["processes"] = tuple(ProcessState(**one) for one in raw["processes"])
        return State(**raw)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def running() -> list[State]:
    """Find the machines of this user that run, by name."""
    told = os.environ.get(VARIABLE)
    if told:
        folders = [Path(told)]
    else:
        try:
            folders = sorted(base().iterdir())
        except OSError:
            folders = []
    states = [state for folder in folders if (state := load(folder))]
    return [state for state in states if state.alive]
