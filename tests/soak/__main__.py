"""A soak: everything at once on a real machine, with random faults and kills.

Usage: python -m tests.soak [--minutes N | --rounds N] [--seed N] [--events A-B] [--folder DIR]

The exit status is 1 if anything was what it must not be, and 130 after Ctrl-C without that. The
report is in build/soak/DATE-SEED in both cases.
"""

from __future__ import annotations

import argparse
import random
import sys
from datetime import UTC, datetime
from pathlib import Path

from tests.soak.plan import rounds_of
from tests.soak.report import again, verdict, write_report
from tests.soak.run import Soak
from tests.support.cli import own_folder
from virtmesh_common.printable import say

ROOT = Path(__file__).resolve().parents[2]
INTERRUPTED = 130


def read_events(text: str) -> tuple[int, int]:
    """Read the first and the last event. Errors: ValueError."""
    first, _, last = text.partition("-")
    return int(first), int(last or first)


def main() -> int:
    """Run; return the exit status."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--rounds", type=int, help="rounds of 20 seconds, in place of minutes")
    parser.add_argument("--seed", type=int, default=0, help="0 chooses one")
    parser.add_argument(
        "--events", type=read_events, default=(1, 1 << 30), help="do only these of the plan: A-B"
    )
    parser.add_argument("--folder", type=Path, help="where the report goes")
    options = parser.parse_args()
    seed = options.seed or random.SystemRandom().randrange(1, 1 << 32)
    rounds = options.rounds or rounds_of(60 * options.minutes)
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    folder = options.folder or ROOT / "build" / "soak" / f"{stamp}-{seed}"
    say(f"seed {seed}, {rounds} rounds; the report will be in {folder}")
    with own_folder() as cli:
        soak = Soak(seed, rounds, cli, events=options.events)
        soak.run()
        write_report(soak, folder)
    say(f"{verdict(soak)}; see {folder / 'report.md'}")
    for one in soak.journal.violations[:10]:
        say(f"at {one.at:.1f} s, after event {one.event}, {one.who}: {one.what.strip()}")
    if soak.failed:
        say(f"the same again: {again(soak)}")
        return 1
    return INTERRUPTED if soak.interrupted else 0


if __name__ == "__main__":
    sys.exit(main())
