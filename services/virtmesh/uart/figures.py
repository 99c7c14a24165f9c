"""What `virtmesh top` shows of a serial port."""

from __future__ import annotations

from virtmesh.kinds.record import Figure
from virtmesh.uart import metrics

FIGURES = (
    Figure("in", metrics.RECEIVED),
    Figure("out", metrics.TRANSMITTED),
    Figure("waiting", metrics.WAITING),
    Figure("overruns", metrics.OVERRUNS, is_total=True),
)
