"""What `virtmesh top` shows of a serial port."""

from __future__ import annotations

from virtmesh.kinds.record import Figure
from virtmesh.uart.metrics import OVERRUNS, RECEIVED, TRANSMITTED, WAITING

FIGURES = (
    Figure("in", RECEIVED),
    Figure("out", TRANSMITTED),
    Figure("waiting", WAITING),
    Figure("overruns", OVERRUNS, is_total=True),
)
