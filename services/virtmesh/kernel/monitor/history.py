"""The lines that were entered, for going back to."""

from __future__ import annotations

from collections import deque

LINES_KEPT = 100
"""Lines of the history."""


class History:
    """The last lines, and where among them someone stands; at the end is the line being edited."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=LINES_KEPT)
        self._at = 0
        self._draft = ""

    def add(self, line: str) -> None:
        """Add a line, unless it is blank or the last one again, and stand at the end."""
        if line.strip() and line not in list(self._lines)[-1:]:
            self._lines.append(line)
        self._at, self._draft = len(self._lines), ""

    def move(self, step: int, line: str) -> str | None:
        """Go back (-1) or forth (1) from a line; return the one there, None at either end."""
        to = self._at + step
        if not 0 <= to <= len(self._lines):
            return None
        if self._at == len(self._lines):
            self._draft = line
        self._at = to
        return self._draft if to == len(self._lines) else self._lines[to]
