"""The loop of a probe in Python: for each line of standard input a line of JSON."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING

from virtmesh_common.printable import say

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Figures = dict[str, float]


async def answer_lines(measure: Callable[[str], Awaitable[Figures]]) -> None:
    """Measure once for each line, until there are no more."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        say(json.dumps(await measure(line.strip())))
