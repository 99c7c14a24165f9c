"""The run folder of a machine that `virtmesh up` started: its sockets, logs and state.json.

`virtmesh.local.run_folder` makes and writes it.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

VARIABLE = "VIRTMESH_RUN_DIR"
STATE = "state.json"
SUPERVISOR_LOG = "supervisor.log"
GUEST_LOG = "guest.log"
"""Log of the guests in the background; it exists once there was one."""
KERNELS = ("kernel", "cpu")
"""Kinds of processes that drive the devices: they are stopped before these."""


@dataclass(frozen=True)
class ProcessState:
    """One process of a machine."""

    name: str
    kind: str
    """"kernel", "cpu", "supervisor", or the kind of device."""
    pid: int
    start_ticks: int
    """Start time of /proc/PID/stat. It differs if another process gets the same pid."""
    address: str = ""
    """Address of its gRPC services."""
    metrics: str = ""
    """Address of /metrics as unix:PATH or HOST:PORT; empty without metrics of its own."""
    log: str = ""
    """Path of its log file."""
    restarts: int = 0
    """How often the supervisor has restarted it."""
    held: str = ""
    """Why the supervisor does not start it again; empty unless it is held."""
    silent: str = ""
    """Since when it does not answer its supervisor, and why that may be; empty while it answers."""

    @property
    def alive(self) -> bool:
        """True while this process runs, and not only another one with its pid."""
        return start_ticks(self.pid) == self.start_ticks


@dataclass(frozen=True)
class FolderState:
    """The security folder that a machine was started with."""

    path: str
    device: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> FolderState | None:
        """Return what is there now; None if nothing is."""
        try:
            about = path.stat()
        except OSError:
            return None
        return cls(str(path), about.st_dev, about.st_ino)

    @property
    def was_replaced(self) -> bool:
        """True when another folder is there now, or none: services still have the one of before."""
        return self.of(Path(self.path)) != self


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
    warnings: tuple[str, ...] = ()
    """What should not stay as it is, such as an address that is open to anyone."""
    addresses: tuple[str, ...] = ()
    """All addresses of the kernel service, also those for tokens and for roles."""
    security: FolderState | None = None

    @property
    def alive(self) -> list[ProcessState]:
        """The running processes, the supervisor first."""
        return [one for one in (self.supervisor, *self.processes) if one.alive]

    @property
    def warnings_now(self) -> list[str]:
        """What should not stay as it is, with what has come to be so since the start."""
        found = list(self.warnings)
        if self.security is not None and self.security.was_replaced:
            found.append(
                f"{self.security.path} was removed or replaced as a whole, and the machine still"
                " has the folder of before: stop and start it"
            )
        return found


def start_ticks(pid: int) -> int | None:
    """Return the start time of a process in clock ticks since boot; None if it does not run."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name, field 2, may contain any character. The state follows its last parenthesis.
    fields = text[text.rindex(")") + 2 :].split()
    if fields[0] in {"Z", "X"}:
        return None
    return int(fields[19])


def base() -> Path:
    """Return the folder of this user for run folders."""
    # Whoever names a machine or its folder does not pay for these.
    import warnings  # noqa: PLC0415

    import platformdirs  # noqa: PLC0415

    with warnings.catch_warnings():
        # Without $XDG_RUNTIME_DIR, platformdirs warns and returns a folder in /tmp, which `prepare`
        # checks.
        warnings.simplefilter("ignore")
        return Path(platformdirs.user_runtime_dir("virtmesh", appauthor=False))


def default(name: str) -> Path:
    """Return the run folder of a machine: $VIRTMESH_RUN_DIR, or the one with its name."""
    given = os.environ.get(VARIABLE)
    return Path(given).absolute() if given else base() / name


def load(folder: Path) -> MachineState | None:
    """Read state.json; None if it does not exist or is not valid."""
    try:
        raw: dict[str, Any] = json.loads((folder / STATE).read_text(encoding="utf-8"))
        raw.pop("version")
        raw["supervisor"] = ProcessState(**raw["supervisor"])
        raw["processes"] = tuple(ProcessState(**one) for one in raw["processes"])
        raw["warnings"] = tuple(raw.get("warnings", ()))
        raw["addresses"] = tuple(raw.get("addresses", ()))
        if raw.get("security") is not None:
            raw["security"] = FolderState(**raw["security"])
        return MachineState(**raw)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def of_address(address: str) -> MachineState | None:
    """Return the running machine whose kernel service has this address, one of a unix socket.

    None for one that runs elsewhere, or without a supervisor.
    """
    kind, _, path = address.partition(":")
    state = load(Path(path).parent) if kind == "unix" else None
    return state if state and state.supervisor.alive else None


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


def clean(folder: Path) -> None:
    """Remove sockets and state; logs stay."""
    for path in folder.iterdir():
        if path.is_socket() or path.name == STATE:
            path.unlink(missing_ok=True)
