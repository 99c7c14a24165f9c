"""The CPU time of other processes, exact to the nanosecond."""

from __future__ import annotations

import time

CPUCLOCK_SCHED = 2
"""Exact CPU time (Linux, posix-timers.h)."""


def cpu_us(pid: int) -> float:
    """Return the CPU time that all threads of a process have used, in microseconds.

    Errors: OSError if there is no such process.
    """
    # The number of the CPU clock of another process: clock_getcpuclockid(3).
    return time.clock_gettime_ns(~pid << 3 | CPUCLOCK_SCHED) / 1e3
