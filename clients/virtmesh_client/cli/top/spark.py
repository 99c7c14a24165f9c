"""Plots of one line: a character for each interval, from nothing to the highest."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

BLOCKS = "▁▂▃▄▅▆▇█"
ASCII = "_.:-=+*#"
"""Where the terminal has no blocks."""
NOTHING = " "
"""An interval of which nothing is known."""


def sparkline(values: Sequence[float | None], width: int, *, blocks: bool = True) -> str:
    """Return the latest values as characters, at most `width`, the latest on the right.

    The scale begins at 0 and ends at the highest of those that are shown.
    """
    steps = BLOCKS if blocks else ASCII
    shown = values[-width:] if width > 0 else ()
    highest = max((one for one in shown if one is not None), default=0.0)
    return "".join(
        NOTHING if one is None else steps[step_of(one, highest, len(steps))] for one in shown
    ).rjust(width)


def step_of(value: float, highest: float, steps: int) -> int:
    """Return which of some steps a value is: 0 only for what is nothing."""
    if value <= 0 or highest <= 0:
        return 0
    return min(max(int(value / highest * steps), 1), steps - 1)
