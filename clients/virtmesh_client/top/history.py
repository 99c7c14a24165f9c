"""What devices did in the latest intervals, for plots: a bounded number of points for each."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from virtmesh_client.top.rates import Row

KEPT = 240
"""Points that are kept of a device: four minutes of seconds."""


class History:
    """The rows of the latest intervals, by device; one that is not listed any more is forgotten.

    history = History()
    history.add(rows)
    history.values("vda", lambda row: row.requests)
    """

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._rows: dict[str, deque[Row]] = {}

    def add(self, rows: Sequence[Row]) -> None:
        """Add an interval."""
        self._rows = {
            row.name: self._rows.get(row.name) or deque(maxlen=self._kept) for row in rows
        }
        for row in rows:
            self._rows[row.name].append(row)

    def values(self, device: str, value: Callable[[Row], float | None]) -> Sequence[float | None]:
        """Return a value of a device in each interval, the latest last."""
        return [value(row) for row in self._rows.get(device, ())]
