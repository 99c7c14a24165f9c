r"""Compare two versions of the code by one benchmark, in turns, so that both meet the same host.

Usage: python tests/bench/compare.py --old COMMAND --new COMMAND [--rounds N]

Each command runs one round and prints, as its last line, a JSON object of figures:
`{"KiB/s": 812.5, "messages": 3}`. Names must be the same on both sides; whether larger is better
depends on the figure. To run the same script in two trees, each with its own virtual environment:

    python tests/bench/compare.py --rounds 12 \
        --old 'env -C ../old .venv/bin/python -m tests.bench.console_path --json' \
        --new '.venv/bin/python -m tests.bench.console_path --json'

The sides take turns: old, new, new, old, and so on, so that a host that gets slower in the course
of the run slows both. The first round warms up and is dropped. For every figure the table shows the
medians, the median of the ratios new / old of single rounds, and the middle half of those ratios.
Where that range contains 1, the run shows no difference. It asserts nothing.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from collections import defaultdict
from statistics import median, quantiles

from rich.console import Console
from rich.table import Table

Figures = dict[str, float]
"""What one round of one side has measured, by name."""


def measure(command: str) -> Figures:
    """Run one round of a side.

    Errors: CalledProcessError for a command that fails; ValueError for a last line that is no JSON.
    """
    done = subprocess.run(shlex.split(command), stdout=subprocess.PIPE, text=True, check=True)
    figures = json.loads(done.stdout.strip().rpartition("\n")[2])
    return {name: float(value) for name, value in figures.items()}


def run(old: str, new: str, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Measure in turns; return the pairs (old, new) of every figure, a pair for each round."""
    pairs: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for number in range(rounds + 1):
        if number % 2:
            of_old, of_new = measure(old), measure(new)
        else:
            of_new, of_old = measure(new), measure(old)
        if not number:  # the round that warms up
            continue
        for name, value in of_old.items():
            pairs[name].append((value, of_new[name]))
            ratio = of_new[name] / value if value else float("nan")
            sys.stderr.write(
                f"round {number}: {name}: {value:g} -> {of_new[name]:g} ({ratio:.3f})\n"
            )
    return pairs


def report(pairs: dict[str, list[tuple[float, float]]]) -> None:
    """Print medians and ratios."""
    table = Table("figure", "old", "new", "new / old", "middle half", "rounds")
    for name, values in pairs.items():
        ratios = [new / old for old, new in values if old]
        low, _, high = quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
        table.add_row(
            name,
            f"{median(old for old, _ in values):g}",
            f"{median(new for _, new in values):g}",
            f"{median(ratios):.3f}",
            f"{low:.3f} to {high:.3f}",
            str(len(values)),
        )
    Console().print(table)


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--old", required=True, help="command that measures the old version once")
    parser.add_argument("--new", required=True, help="command that measures the new version once")
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    report(run(options.old, options.new, options.rounds))


if __name__ == "__main__":
    main()
