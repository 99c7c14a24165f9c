"""The benchmark suite: every row is a ratio to a peer or a floor that is measured in turns with it.

Usage: python -m tests.bench.suite [--long] [--list] [--only ROW]... [--rounds N] [--seconds S]

The results are in build/bench/DATE: result.md, result.json and plots. Nothing is asserted: the exit
status is 0 whatever the figures, and 130 after Ctrl-C, which keeps what was measured by then.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from tests.bench.suite import host, report
from tests.bench.suite.catalogue import choose, experiments
from tests.bench.suite.experiment import Setting
from tests.bench.suite.plots import draw_all
from tests.bench.suite.probe import ROOT
from tests.bench.suite.runner import Runner
from virtmesh_common.printable import say

INTERRUPTED = 130
MIB = 1 << 20
MOST_SECONDS = 3600.0


def at_least_one(text: str) -> int:
    """Read a number of rounds. Errors: ValueError."""
    if (number := int(text)) < 1:
        raise ValueError(f"{number} rounds measure nothing")
    return number


def above_zero(text: str) -> float:
    """Read a time. Errors: ValueError."""
    if not 0 < (seconds := float(text)) <= MOST_SECONDS:
        raise ValueError(f"not above 0 and up to {MOST_SECONDS:g}: {seconds:g}")
    return seconds


def options() -> argparse.Namespace:
    """Read the command line."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.suite", description=__doc__.split("\n", maxsplit=1)[0]
    )
    parser.add_argument("--long", action="store_true", help="more depths, rounds and bytes")
    parser.add_argument("--list", action="store_true", help="list the rows, and measure nothing")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="ROW",
        help="a row, or a pattern such as 'read-*'",
    )
    parser.add_argument("--rounds", type=at_least_one, help="rounds that count; one more warms up")
    parser.add_argument(
        "--seconds", type=above_zero, help="of one measurement, where it can be chosen"
    )
    parser.add_argument("--images", type=Path, help="folder for images; build/bench by default")
    parser.add_argument(
        "--out", type=Path, help="folder of the results; build/bench/DATE by default"
    )
    parser.add_argument(
        "--json", action="store_true", help="print our medians as JSON, for tests/bench/compare.py"
    )
    return parser.parse_args()


def main() -> int:
    """Do what the command line says; return the exit status."""
    chosen_options = options()
    found = experiments(long=chosen_options.long)
    try:
        chosen = choose(found, chosen_options.only)
    except LookupError as error:
        say(error, err=True)
        return 2
    if chosen_options.list:
        for row in (row for one in found for row in one.rows if row.name in chosen):
            goal = f", goal {row.goal:g}" if row.goal is not None else ""
            say(f"{row.name}: {row.what}; beside {row.peer}, {row.better} is better{goal}")
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    long = chosen_options.long
    rounds = chosen_options.rounds or (15 if long else 5)
    seconds = chosen_options.seconds or (1.0 if long else 0.3)
    now = datetime.now(UTC)
    out = chosen_options.out or ROOT / "build/bench" / now.strftime("%Y%m%dT%H%M%S")
    images = chosen_options.images or ROOT / "build/bench"
    images.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="i-", dir=images) as folder,
        tempfile.TemporaryDirectory(prefix="vm-") as sockets,
    ):
        setting = Setting(
            folder=Path(folder),
            sockets=Path(sockets),
            seconds=seconds,
            image_bytes=(256 if long else 128) * MIB,
            import_bytes=(1024 if long else 256) * MIB,
            cpus=tuple(sorted(os.sched_getaffinity(0))),
        )
        about = host.look(setting.folder)
        say(f"{len(chosen)} rows, {rounds} rounds; the results will be in {out}", err=True)
        run = Runner(setting, rounds, lambda text: say(text, err=True)).run(found, chosen)
    facts = report.Facts(
        date=now.isoformat(timespec="seconds"),
        command="python -m tests.bench.suite " + shlex.join(sys.argv[1:]),
        rounds=rounds,
        seconds=seconds,
        took_s=time.monotonic() - start,
        load_after=os.getloadavg()[0],
        cpus=setting.cpus,
        host=about,
    )
    report.write(run, facts, out, draw_all(run.outcomes, out))
    if chosen_options.json:
        measured = [one for one in run.outcomes if one.ratio]
        say(json.dumps({one.row.name: median(one.ours) for one in measured}))
    else:
        say(out / "result.md")
    return INTERRUPTED if run.interrupted else 0


if __name__ == "__main__":
    sys.exit(main())
