"""The run folder of a machine that `virtmesh up` started: its sockets, logs and state.json.

`virtmesh.local.run_folder` makes and writes it.
"""

from __future__ import annotations

import json
import os
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import platformdirs

VARIABLE = "VIRTMESH_RUN_DIR"
STATE = "state.json"


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


def clean(folder: Path) -> None:
    """Remove sockets and state; logs stay."""
    for path in folder.iterdir():
        if path.is_socket() or path.name == STATE:
            path.unlink(missing_ok=True)
