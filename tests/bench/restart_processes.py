"""What a family of processes uses: memory and CPU time, as /proc tells."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
FIRST_TIME, LAST_TIME = 11, 15
"""utime to cstime: fields of /proc/PID/stat after the name of the program, from 0."""


def family(first: int) -> list[int]:
    """Return a process and all that come of it."""
    found = [first]
    for pid in found:
        for file in Path(f"/proc/{pid}/task").glob("*/children"):
            with contextlib.suppress(OSError):  # a thread that has ended
                found += map(int, file.read_text().split())
    return found


def pss_mib(pids: Iterable[int]) -> float:
    """Return their memory; pages that several share are divided among these."""
    lines = [
        line
        for pid in pids
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        if line.startswith("Pss:")
    ]
    return sum(int(line.split()[1]) for line in lines) / 1024


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the CPU time that they, and those of their children that have ended, have used."""
    ticks = 0
    for pid in pids:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        fields = text[text.rindex(")") + 2 :].split()
        ticks += sum(map(int, fields[FIRST_TIME:LAST_TIME]))
    return ticks / TICKS_PER_S
