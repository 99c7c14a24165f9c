"""The table of a benchmark that measures each operation with and without a feature, in turn."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

WITHOUT, AGAIN, WITH = "without", "again", "with"
"""The measurements of a round. AGAIN repeats WITHOUT: its ratio shows the noise of the method."""


def cost_table(costs: Mapping[str, Sequence[Mapping[str, float]]], unit: str) -> Table:
    """Make a table of the costs of each operation. A ratio is the median over all rounds."""
    rounds = max(map(len, costs.values()), default=0)
    table = Table(title=f"{rounds} interleaved rounds on one CPU")
    for column in ("what", f"{unit} without", "with / without", "twice without"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for way, rows in costs.items():
        table.add_row(
            way,
            f"{median(row[WITHOUT] for row in rows):.1f}",
            f"{median(row[WITH] / row[WITHOUT] for row in rows):.3f}",
            f"{median(row[AGAIN] / row[WITHOUT] for row in rows):.3f}",
        )
    return table
