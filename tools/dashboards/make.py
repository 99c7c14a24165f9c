"""Write deploy/grafana/dashboards from the descriptions in this folder, or check that they agree.

Usage: python -m tools.dashboards.make [--check]
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from tools.dashboards import block, calls, input_devices, kernel, overview, uart

if TYPE_CHECKING:
    from tools.dashboards.parts import Board

TARGET = Path(__file__).resolve().parents[2] / "deploy" / "grafana" / "dashboards"
BOARDS = {
    "overview.json": overview.BOARD,
    "block.json": block.BOARD,
    "input.json": input_devices.BOARD,
    "uart.json": uart.BOARD,
    "kernel.json": kernel.BOARD,
    "grpc.json": calls.BOARD,
}


def render(board: Board) -> str:
    """Return the JSON of a dashboard."""
    return json.dumps(board.build(), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


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
        print(
            f"{name} is not what tools/dashboards makes: run this without --check", file=sys.stderr
        )
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
