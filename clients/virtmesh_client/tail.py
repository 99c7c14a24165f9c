"""Follow log files as they grow."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

POLL_SECONDS = 0.1
LINE_LIMIT_BYTES = 64 << 10
"""Longest line. A longer one is shown in several pieces."""


class Tail:
    """One log file, and how far it was read."""

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self._path = path
        self._position = 0
        self._rest = b""

    def lines(self) -> list[str]:
        """Return the complete lines that were added since the last call."""
        try:
            with self._path.open("rb") as file:
                if file.seek(0, os.SEEK_END) < self._position:  # it was begun anew
                    self._position, self._rest = 0, b""
                file.seek(self._position)
                data = file.read(LINE_LIMIT_BYTES)
        except FileNotFoundError:
            return []
        self._position += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LINE_LIMIT_BYTES:
            lines.append(self._rest)
            self._rest = b""
        return [line.decode(errors="replace") for line in lines]


async def follow(logs: Sequence[tuple[str, Path]], show: Callable[[str, str], object]) -> None:
    """Call `show(name, line)` for each new line of the logs, until cancelled."""
    tails = [Tail(name, path) for name, path in logs]
    try:
        while True:
            drain(tails, show)
            await asyncio.sleep(POLL_SECONDS)
    finally:
        drain(tails, show)


def drain(tails: Sequence[Tail], show: Callable[[str, str], object]) -> None:
    """Show all new lines of each log."""
    for tail in tails:
        while lines := tail.lines():
            for line in lines:
                show(tail.name, line)
