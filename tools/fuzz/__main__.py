"""Fuzz everything, or one target.

Usage: python -m tools.fuzz [--seconds N] [--target NAME]... [--input FILE | --minimize | --list]

All targets share the time, as many at once as there are processors; then a table tells what each
has done. Ctrl-C ends all of them, and prints it too. Exit code 1: an input broke a promise, and how
to run it again is printed. `--minimize` commits the smallest corpora that cover what was found.
"""

from __future__ import annotations

import argparse
import os
import sys
from concurrent.futures import ThreadPoolExecutor, wait
from importlib.util import find_spec
from os import nice
from pathlib import Path
from typing import TYPE_CHECKING

from tests.fuzz import target as python_targets
from tools.fuzz import native
from tools.fuzz.job import Job

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMITTED_MAX = 10_000
"""Most bytes of text that `--minimize` commits for a target."""
TAIL = 40
"""Lines of a crash's log that are printed."""
INTERRUPTED = 130
COLUMNS = ("target", "executions", "a second", "edges", "features", "corpus", "crashes")


def main() -> int:
    """Run."""
    arguments = parse_arguments()
    jobs = choose(arguments.target)
    if arguments.list:
        print(*(job.name for job in jobs), sep="\n")
        return 0
    if arguments.input is not None:
        if len(jobs) != 1:
            sys.exit("--input needs the target that the input is of: add --target NAME")
        return jobs[0].reproduce(arguments.input.absolute())
    if arguments.minimize:
        for job in jobs:
            print(f"{job.name}: {job.minimize(COMMITTED_MAX)} inputs")
        return 0
    return fuzz(jobs, arguments.seconds, arguments.seed)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=1800, help="for all targets together")
    parser.add_argument("--seed", type=int, default=0, help="of the random choices; 0: any")
    parser.add_argument("--target", action="append", default=[], help="only this one")
    parser.add_argument("--input", type=Path, help="run this input alone")
    parser.add_argument("--minimize", action="store_true", help="commit the smallest corpora")
    parser.add_argument("--list", action="store_true", help="print the names of the targets")
    return parser.parse_args()


def choose(wanted: Sequence[str]) -> list[Job]:
    """Make the jobs that are wanted; all of them for none. Exits where there is no such target."""
    python = python_targets.names() if has_atheris() else []
    if not python:
        print("atheris has no wheel for this Python: the targets in Python are left out")
    jobs = [Job(name, None) for name in python]
    if not wanted or set(wanted) - set(python):
        program = native.build()
        jobs = [*(Job(name, program) for name in native.names(program)), *jobs]
    if unknown := set(wanted) - {job.name for job in jobs}:
        known = ", ".join(job.name for job in jobs)
        sys.exit(f"there is no target {', '.join(sorted(unknown))}: there are {known}")
    return [job for job in jobs if not wanted or job.name in wanted]


def has_atheris() -> bool:
    """Say whether the engine of the targets in Python is installed."""
    return find_spec("atheris") is not None


def fuzz(jobs: Sequence[Job], seconds: float, seed: int = 0) -> int:
    """Run all jobs in that time, and tell about them; return the exit code."""
    at_once = min(len(jobs), len(os.sched_getaffinity(0)))
    share = seconds * at_once / len(jobs)
    nice(5)
    interrupted = False
    with ThreadPoolExecutor(at_once) as pool:
        running = [pool.submit(job.run, share, seed) for job in jobs]
        try:
            wait(running)
        except KeyboardInterrupt:
            interrupted = True
            for one in running:
                one.cancel()
            for job in jobs:
                job.end()
    for one in running:
        if not one.cancelled():
            one.result()
    print(table(jobs))
    failed = [job for job in jobs if job.crashes or (job.status and not interrupted)]
    for job in failed:
        print(*describe(job), sep="\n")
    if interrupted:
        return INTERRUPTED
    return 1 if failed else 0


def table(jobs: Sequence[Job]) -> str:
    """Lay out what each target has done."""
    rows: list[tuple[str, ...]] = [COLUMNS]
    for job in jobs:
        figures = job.figures
        numbers = (figures.executions, figures.per_second, figures.edges, figures.features)
        size = f"{figures.inputs} ({figures.size})"
        crashes = len(job.crashes) or bool(job.status)
        rows.append((job.name, *(f"{one:,}" for one in numbers), size, f"{int(crashes)}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )


def describe(job: Job) -> list[str]:
    """Tell about a crash, and how to run it again."""
    lines = [f"\n{job.name} ended with status {job.status}; its log ends:"]
    lines += job.log.splitlines()[-TAIL:]
    for crash in job.crashes:
        path = crash.relative_to(native.ROOT)
        lines.append(f"to run it again: make fuzz TARGET={job.name} INPUT={path}")
    return lines


if __name__ == "__main__":
    sys.exit(main())
