"""Write the table of docs/access.md from the table of roles, or check that they agree.

Usage: python -m tools.access_table [--check]
"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from tools.generated_part import write_or_check
from virtmesh_common.security.roles import ROWS, Access, Role

TARGET = Path(__file__).resolve().parent.parent / "docs" / "access.md"
BEGIN = "<!-- made by tools/access_table.py: not edited by hand -->\n"
HEAD = f"| RPC | changes | {' | '.join(Role)} |\n|---|---|{'---|' * len(Role)}\n"


def service_of(row: Access) -> str:
    """Return the full name of the service of a row."""
    return row.method.removeprefix("/").rpartition("/")[0]


def line(row: Access) -> str:
    """Return a row as a line of the table."""
    method = row.method.rpartition("/")[2]
    allowed = " | ".join("yes" if role in row.roles else "" for role in Role)
    return f"| `{method}` | {'yes' if row.changes else ''} | {allowed} |\n"


def tables() -> str:
    """Return a table for each service."""
    parts = []
    for service, rows in groupby(ROWS, service_of):
        parts.append(f"### `{service}`\n\n{HEAD}{''.join(map(line, rows))}\n")
    return "".join(parts)


def main() -> int:
    """Write, or with --check compare and return 1 when the page is out of date."""
    return write_or_check(
        TARGET,
        BEGIN,
        tables,
        about=__doc__,
        command="`python -m tools.access_table`",
    )


if __name__ == "__main__":
    raise SystemExit(main())
