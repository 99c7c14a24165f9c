"""What a command costs, as a multiple of `python -c 'import grpc'` in the same rounds.

Usage: python -m tests.bench.command_cost [--rounds N] [--tree NAME=PYTHON ...]

Each round runs every command once, in turns: Python alone, the import of gRPC, and commands of each
tree. A tree is the Python of an environment with virtmesh in it; without --tree it is this one. The
commands use a kernel with disks in memory, in this process. CPU is user and system time of the
child. The tables show medians, and the medians of the ratios of each round. It asserts nothing.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from statistics import median

from rich.console import Console
from rich.table import Table

from virtmesh_client.testing import FakeKernel

COMPLETE = {"_VIRTMESH_COMPLETE": "bash_complete"}
PEER = "python -c 'import grpc'"


@dataclass
class Case:
    """A command, and what it has cost in each round: seconds of CPU and of the clock."""

    name: str
    argv: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)

    def run(self) -> None:
        """Run it once. Errors: CalledProcessError."""
        begin = time.perf_counter()
        process = subprocess.Popen(
            self.argv,
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, self.argv)
        self.wall.append(time.perf_counter() - begin)
        self.cpu.append(usage.ru_utime + usage.ru_stime)


def cases_of(tree: str, python: str) -> list[Case]:
    """Return the commands of a tree: those that its installed script would run."""
    start = [python, "-P", "-c", "from virtmesh_client.cli import main; main()"]
    words = {"virtmesh --version": ["--version"], "virtmesh --help": ["--help"]}
    words |= {"virtmesh devices": ["devices"], "virtmesh blk info vda": ["blk", "info", "vda"]}
    cases = [Case(f"{tree}: {name}", [*start, *arguments]) for name, arguments in words.items()]
    for line, number in (("virtmesh ", "1"), ("virtmesh blk ", "2"), ("virtmesh blk info ", "3")):
        tab = {**COMPLETE, "COMP_WORDS": line, "COMP_CWORD": number}
        cases.append(Case(f"{tree}: {line}<Tab>", start, tab))
    return cases


def report(peer: Case, cases: list[Case]) -> None:
    """Print medians and ratios."""
    table = Table("command", "CPU ms", "CPU ratio", "wall ms", "wall ratio", "rounds")
    for case in cases:
        ratios = [
            f"{median(own / other for own, other in zip(mine, peers, strict=True)):.2f}"
            for mine, peers in ((case.cpu, peer.cpu), (case.wall, peer.wall))
        ]
        table.add_row(
            case.name,
            f"{median(case.cpu) * 1000:.0f}",
            ratios[0],
            f"{median(case.wall) * 1000:.0f}",
            ratios[1],
            str(len(case.cpu)),
        )
    Console().print(table)


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--tree", action="append", default=[], metavar="NAME=PYTHON")
    options = parser.parse_args()
    trees = [tree.partition("=")[::2] for tree in options.tree] or [("this", sys.executable)]
    peer = Case(PEER, [trees[0][1], "-c", "import grpc"])
    cases = [Case("python -c pass", [trees[0][1], "-c", "pass"]), peer]
    with FakeKernel(vda=1 << 20) as kernel:
        os.environ["VIRTMESH_ADDRESS"] = kernel.address
        cases += [case for name, python in trees for case in cases_of(name, python)]
        for number in range(options.rounds + 1):
            for case in cases if number % 2 else reversed(cases):
                case.run()
                if not number:  # the round that warms up
                    case.cpu.clear()
                    case.wall.clear()
    report(peer, cases)


if __name__ == "__main__":
    main()
