"""A time in seconds on a command line."""

from __future__ import annotations

import math
from typing import Any

import click

SECONDS_MAX = 1e9
"""About 31 years. Longer waits are more than clocks and locks of some systems can count."""


class Seconds(click.FloatRange):
    """Seconds, from 0 on; with `min_open`, more than 0. "nan" and "inf" are none."""

    def __init__(self, maximum: float | None = None, *, min_open: bool = False) -> None:
        super().__init__(0, maximum, min_open=min_open)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number."""
        seconds: float = super().convert(value, param, ctx)
        if math.isnan(seconds) or seconds > SECONDS_MAX:
            self.fail(f"{seconds:g} is not a number of seconds: choose at most 1e9", param, ctx)
        return seconds
