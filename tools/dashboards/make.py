"""Write deploy/grafana/dashboards, or check that it is up to date.

A kind of device has its dashboard in its package; those of the whole machine are in this folder.

Usage: python -m tools.dashboards.make [--check]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tools.dashboards import calls, cpu, kernel, overview
from virtmesh.dashboards.render import render
from virtmesh.kinds.dashboard import board_of
from virtmesh.kinds.finding import find_kind, packages

TARGET = Path(__file__).resolve().parents[2] / "deploy" / "grafana" / "dashboards"
PREFIX = "virtmesh-"
"""Begins the uid of every dashboard."""
KINDS = [find_kind(name) for name, package in packages().items() if package.startswith("virtmesh.")]
"""The kinds of the distribution: not those of other packages that happen to be on the path."""
BOARDS = {
    f"{board.uid.removeprefix(PREFIX)}.json": board
    for board in (overview.BOARD, kernel.BOARD, cpu.BOARD, calls.BOARD, *map(board_of, KINDS))
}


def main() -> int:
    """Write, or with --check compare and return 1 when something differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    options = parser.parse_args()
    fresh = {name: render(board) for name, board in BOARDS.items()}
    if not options.check:
        for name, text in fresh.items():
            (TARGET / name).write_text(text)
        return 0
    there = {path.name: path.read_text() for path in TARGET.glob("*.json")}
    wrong = sorted(name for name in there | fresh if there.get(name) != fresh.get(name))
    for name in wrong:
        print(f"{name} is out of date: run this without --check", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
