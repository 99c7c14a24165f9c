"""Write the table of error reasons in docs/drivers.md from the classes, or check that it agrees.

Usage: python -m tools.errors_table [--check]
"""

from __future__ import annotations

import importlib
from pathlib import Path

import virtmesh_common
from tools.generated_part import write_or_check
from virtmesh_common.errors import BY_REASON, VirtmeshError

TARGET = Path(__file__).resolve().parent.parent / "docs" / "drivers.md"
BEGIN = "<!-- made by tools/errors_table.py: not edited by hand -->\n"
HEAD = "| reason | a case of | gRPC status | meaning |\n|---|---|---|---|\n"


def import_errors() -> None:
    """Import every module `errors` of virtmesh_common: classes register their reasons."""
    folder = Path(virtmesh_common.__file__).parent
    for path in sorted(folder.rglob("errors.py")):
        parts = path.relative_to(folder.parent).with_suffix("").parts
        importlib.import_module(".".join(parts))


def classes() -> list[type[VirtmeshError]]:
    """Return the classes of virtmesh_common that can travel, each behind its base class."""
    import_errors()
    known = [one for one in BY_REASON.values() if one.__module__.startswith("virtmesh_common.")]

    def below(base: type[VirtmeshError]) -> list[type[VirtmeshError]]:
        direct = [one for one in known if one.__bases__[0] is base]
        return [each for one in direct for each in (one, *below(one))]

    return below(VirtmeshError)


def table() -> str:
    """Return the table, one reason a row."""
    return HEAD + "".join(
        f"| `{one.reason}` | {base_reason(one)} | `{one.code.name}` | {meaning(one)} |\n"
        for one in classes()
    )


def base_reason(one: type[VirtmeshError]) -> str:
    """Return the reason of the class that a class specialises; empty for a class of its own."""
    base = one.__bases__[0]
    return (
        f"`{base.reason}`" if base is not VirtmeshError and issubclass(base, VirtmeshError) else ""
    )


def meaning(one: type[VirtmeshError]) -> str:
    """Return the first paragraph of a class's docstring, on one line."""
    paragraph = (one.__doc__ or "").split("\n\n")[0]
    return " ".join(paragraph.split()).replace("|", "\\|")


def main() -> int:
    """Write, or with --check compare and return 1 when the page is out of date."""
    return write_or_check(
        TARGET,
        BEGIN,
        lambda: f"{table()}\n",
        about=__doc__,
        command="`python -m tools.errors_table`",
    )


if __name__ == "__main__":
    raise SystemExit(main())
