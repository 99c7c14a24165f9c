"""Measures a bare gRPC call, and an event from the inject call to read_event of its driver.

Usage: python -m tests.bench.suite.probes.inject FOLDER

A line is `bare COUNT` or `inject COUNT`; the answer has the median microseconds.
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import median

import uvloop

from tests.bench.input_latency import connected
from tests.bench.suite.probes.lines import Figures, answer_lines


async def probe(folder: Path) -> None:
    """Start the processes, and measure for each line."""
    async with connected(folder) as bench:
        ways = {"bare": bench.bare_call, "inject": bench.to_read_event}

        async def measure(line: str) -> Figures:
            name, count = line.split()
            return {"us": median([await ways[name]() for _ in range(int(count))]) / 1000}

        await answer_lines(measure)


if __name__ == "__main__":
    uvloop.run(probe(Path(sys.argv[1])))
