"""What idle processes do: CPU time and wake-ups, as the scheduler counts them."""

from __future__ import annotations

import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

WAKES = "voluntary_ctxt_switches:"
"""Begins the line of how often a thread has slept."""


@dataclass
class Rest:
    """What processes did while nobody wanted anything of them, in each second."""

    cpu_ms: float = 0.0
    wakes: float = 0.0
    parts: list[tuple[str, Rest]] = field(default_factory=list)
    """The same by the name of the thread, what takes most first."""

    def spell(self) -> str:
        """Say it in words."""
        return f"{self.cpu_ms:.2f} ms CPU and {self.wakes:.1f} wake-ups a second"


def rest_of(pids: Iterable[int], seconds: float) -> Rest:
    """Watch processes for some time."""
    pids = list(pids)
    before = dict(threads_of(pids))
    time.sleep(seconds)
    by_name: defaultdict[str, Rest] = defaultdict(Rest)
    whole = Rest()
    for key, (name, cpu, wakes) in threads_of(pids):
        _, cpu_before, wakes_before = before.get(key, (name, 0.0, 0))
        for rest in (whole, by_name[name]):
            rest.cpu_ms += (cpu - cpu_before) / seconds
            rest.wakes += (wakes - wakes_before) / seconds
    whole.parts = sorted(by_name.items(), key=lambda item: -item[1].cpu_ms)
    return whole


def threads_of(pids: Iterable[int]) -> Iterator[tuple[Path, tuple[str, float, int]]]:
    """Yield threads: its name, its CPU time in milliseconds, how often it slept."""
    for pid in pids:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):  # it has ended
                name = (thread / "comm").read_text().strip()
                if thread.name == str(pid):
                    name += ", main thread"
                cpu = int((thread / "schedstat").read_text().split()[0]) / 1e6
                lines = (thread / "status").read_text().splitlines()
                wakes = next(int(line.split()[1]) for line in lines if line.startswith(WAKES))
                yield thread, (name, cpu, wakes)


def descriptors(pid: int) -> int:
    """Return how many descriptors a process has."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def threads(pid: int) -> int:
    """Return how many threads it has."""
    return len(list(Path(f"/proc/{pid}/task").iterdir()))
