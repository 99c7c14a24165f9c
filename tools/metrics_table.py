"""Write the tables of docs/metrics.md from the definitions in the code, or check that they agree.

Usage: python -m tools.metrics_table [--check]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.support.metric_definitions import definitions_by_area

TARGET = Path(__file__).resolve().parent.parent / "docs" / "metrics.md"
BEGIN = "<!-- made by tools/metrics_table.py: not edited by hand -->\n"
END = "<!-- end -->\n"


def tables() -> str:
    """Return a table for each area."""
    parts = []
    for title, stated in sorted(definitions_by_area().items()):
        parts.append(
            f"### {title}\n\n| metric | type | unit | labels | meaning |\n|---|---|---|---|---|\n"
        )
        parts += [
            f"| `{one.full_name}` | {one.kind.type_name} | {one.unit} |"
            f" {', '.join(f'`{label}`' for label in one.labels)} | {one.meaning} |\n"
            for one in stated
        ]
        parts.append("\n")
    return "".join(parts)


def main() -> int:
    """Write, or with --check compare and return 1 when something differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    options = parser.parse_args()
    text = TARGET.read_text()
    before, _, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        print(f"{TARGET}: the lines {BEGIN.strip()} and {END.strip()} are missing", file=sys.stderr)
        return 1
    fresh = f"{before}{BEGIN}\n{tables()}{END}{after}"
    if not options.check:
        TARGET.write_text(fresh)
        return 0
    if fresh == text:
        return 0
    print("docs/metrics.md is out of date: run tools/metrics_table.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
