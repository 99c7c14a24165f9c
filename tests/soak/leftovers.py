"""What a machine must not leave behind when it has stopped: processes, sockets, locks."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from virtmesh_client.local import rundir

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.soak.machine import Life

ENDS_SECONDS = 10.0
"""How long processes may take to end after `virtmesh down`."""


def leftovers(folder: Path, known: Iterable[Life], images: Iterable[Path]) -> list[str]:
    """Return what is left, a line each.

    `known` are all processes that the machine ever had. Others count as its own if they have a
    file of its folder open, or work there.
    """
    deadline = time.monotonic() + ENDS_SECONDS
    while (alive := [one for one in known if rundir.start_ticks(one.pid) == one.start_ticks]) and (
        time.monotonic() < deadline
    ):
        time.sleep(0.05)
    found = [f"process {one.pid} still runs: {title(one.pid)}" for one in alive]
    found += [f"process {pid} still uses {path}" for pid, path in users(folder)]
    found += [f"{path.name} is still there" for path in (folder / "run").glob("*.sock")]
    found += [f"{path.name} is still locked" for path in images if is_locked(path)]
    return found


def title(pid: int) -> str:
    """Return what a process calls itself."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except OSError:
        return "it has ended now"


def users(folder: Path) -> list[tuple[int, str]]:
    """Return processes, this one left out, that use something of a folder, and what."""
    inside = f"{folder.resolve()}/"
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or int(process.name) == os.getpid():
            continue
        try:
            links = [process / "cwd", *(process / "fd").iterdir()]
            paths = [path_of(link) for link in links]
        except OSError:
            continue  # it has ended, or is somebody else's
        used = [path for path in paths if f"{path}/".startswith(inside)]
        found += [(int(process.name), path) for path in used[:1]]
    return found


def path_of(link: Path) -> str:
    """Return where a link of /proc points; nothing if it is gone."""
    try:
        return str(link.readlink())
    except OSError:
        return ""


def is_locked(path: Path) -> bool:
    """Return whether somebody has a lock on a file: of flock, or of bytes."""
    with path.open("r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False
