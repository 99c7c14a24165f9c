"""What each process of the machine holds: memory, descriptors, threads."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.soak.machine import Life, lives
from virtmesh_client.local.rundir import start_ticks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.cli import Cli


@dataclass(frozen=True)
class Sample:
    """What one process holds at one time."""

    at: float
    """Seconds since the start."""
    name: str
    life: Life
    pss_kib: int
    """Its part of the memory that it shares, and what it has alone (proc_pid_smaps(5))."""
    anonymous_kib: int
    """Memory that is in no file, shared with the template or not: what a leak makes grow. PSS
    changes when another process dies, and the pages that both shared count for fewer."""
    descriptors: int
    threads: int
    quiet: bool
    """Taken while all clients rested."""


def sample_all(cli: Cli, at: float, *, quiet: bool) -> list[Sample]:
    """Return a sample of each process, the template that forks them included."""
    return [one for name, life in everyone(cli) if (one := sample(name, life, at, quiet=quiet))]


def everyone(cli: Cli) -> Iterator[tuple[str, Life]]:
    """Yield the processes of the machine, with those that have no name in its state."""
    known = lives(cli)
    yield from known.items()
    if "supervisor" in known:
        named = {life.pid for life in known.values()}
        for pid in descendants(known["supervisor"].pid):
            ticks = start_ticks(pid)
            if pid not in named and ticks is not None:
                yield "template", Life(pid, ticks)


def descendants(pid: int) -> list[int]:
    """Return the children of a process, and theirs."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for word in task.read_text().split():
                found += [int(word), *descendants(int(word))]
    return found


def sample(name: str, life: Life, at: float, *, quiet: bool) -> Sample | None:
    """Return what a process holds; None if it ends meanwhile."""
    folder = Path(f"/proc/{life.pid}")
    try:
        rollup = (folder / "smaps_rollup").read_text().splitlines()[1:]
        sizes = {line.split(":")[0]: int(line.split()[1]) for line in rollup}
        descriptors = len(os.listdir(folder / "fd"))  # noqa: PTH208 - names are enough
        threads = len(os.listdir(folder / "task"))  # noqa: PTH208
    except (OSError, IndexError, ValueError):
        return None
    if start_ticks(life.pid) != life.start_ticks:
        return None
    pss, anonymous = sizes.get("Pss", 0), sizes.get("Anonymous", 0)
    return Sample(at, name, life, pss, anonymous, descriptors, threads, quiet)
