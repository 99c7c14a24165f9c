"""Write the tables of docs/report.md from the tables of rules, or check that they agree.

Usage: python -m tools.rules_table [--check]
"""

from __future__ import annotations

from pathlib import Path

from tools.generated_part import write_or_check
from virtmesh.report.rule import VIRTIO
from virtmesh.report.rules import TABLES, UNSEEN

TARGET = Path(__file__).resolve().parent.parent / "docs" / "report.md"
BEGIN = "<!-- made by tools/rules_table.py: not edited by hand -->\n"
HEAD = "| clause | rule | the driver has to |\n|---|---|---|\n"
UNSEEN_HEAD = "| clause | the driver has to | why it is not judged |\n|---|---|---|\n"


def tables() -> str:
    """Return every table of rules under its title, and that of what is not judged."""
    parts = [
        f"### {title}\n{HEAD}"
        + "".join(f"| {one.clause} | `{one.name}` | {cell(one.statement)} |\n" for one in rules)
        for title, rules in TABLES.items()
    ]
    rows = "".join(
        f"| {one.clause if one.specification == VIRTIO else f'{one.specification} {one.clause}'}"
        f" | {cell(one.statement)} | {cell(one.reason)} |\n"
        for one in UNSEEN
    )
    return "\n".join([*parts, f"### What is not judged\n{UNSEEN_HEAD}{rows}"])


def cell(text: str) -> str:
    """Spell a sentence in a cell."""
    return text.replace("|", "\\|")


def main() -> int:
    """Write, or with --check compare and return 1 when the page is out of date."""
    return write_or_check(
        TARGET,
        BEGIN,
        lambda: f"{tables()}\n",
        about=__doc__,
        command="`python -m tools.rules_table`",
    )


if __name__ == "__main__":
    raise SystemExit(main())
