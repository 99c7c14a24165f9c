"""Two results of the suite beside each other: which ratios differ by more than noise.

Usage: python -m tests.bench.suite.beside FIRST/result.json SECOND/result.json

Prints a table in Markdown of the rows that both have measured. Ratios differ where the middle
halves of their rounds have nothing in common.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.suite.figures import Quartiles
from tests.bench.suite.report import SCHEMA
from virtmesh_common.printable import say


@dataclass(frozen=True)
class Pair:
    """The ratios of a row in two results."""

    name: str
    first: Quartiles
    second: Quartiles

    @property
    def differs(self) -> bool:
        """True if the middle halves have nothing in common."""
        return self.first.high < self.second.low or self.second.high < self.first.low


def pairs(first: dict[str, Any], second: dict[str, Any]) -> list[Pair]:
    """Return the rows that both have measured. Errors: ValueError for another schema."""
    for result in (first, second):
        if result["schema"] != SCHEMA:
            raise ValueError(f"schema {result['schema']}, where {SCHEMA} can be read")
    measured = {row["name"]: row["ratio"] for row in second["rows"] if row["ratio"]}
    return [
        Pair(row["name"], Quartiles(**row["ratio"]), Quartiles(**measured[row["name"]]))
        for row in first["rows"]
        if row["ratio"] and row["name"] in measured
    ]


def to_markdown(first: dict[str, Any], second: dict[str, Any]) -> str:
    """Return the table, with what the results are of."""
    lines = [f"- {which}: {about(one)}" for which, one in (("first", first), ("second", second))]
    lines += ["", "| row | first | second | second / first | differs |", "|---|---|---|---|---|"]
    for one in pairs(first, second):
        change = one.second.median / one.first.median
        cells = [f"`{one.name}`", spread(one.first), spread(one.second), f"{change:.2f}"]
        lines.append("| " + " | ".join([*cells, "yes" if one.differs else ""]) + " |")
    return "\n".join(lines)


def about(result: dict[str, Any]) -> str:
    """Say what a result is of."""
    load = f"load {result['host']['load_before']:.1f} to {result['load_after']:.1f}"
    return (
        f"{result['date']}, commit `{result['host']['commit']}`, {result['rounds']} rounds, {load}"
    )


def spread(ratio: Quartiles) -> str:
    """Write a ratio with its middle half."""
    return f"{ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"


def main() -> None:
    """Print the table."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    options = parser.parse_args()
    say(to_markdown(*(json.loads(one.read_text()) for one in (options.first, options.second))))


if __name__ == "__main__":
    main()
