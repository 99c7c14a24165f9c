"""Write the tables of docs/metrics.md from the definitions in the code, or check that they agree.

Usage: python -m tools.metrics_table [--check]
"""

from __future__ import annotations

from pathlib import Path

from tests.support.metric_definitions import definitions_by_area
from tools.generated_part import write_or_check

TARGET = Path(__file__).resolve().parent.parent / "docs" / "metrics.md"
BEGIN = "<!-- made by tools/metrics_table.py: not edited by hand -->\n"


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
    """Write, or with --check compare and return 1 when the page is out of date."""
    return write_or_check(TARGET, BEGIN, tables, about=__doc__, command="tools/metrics_table.py")


if __name__ == "__main__":
    raise SystemExit(main())
