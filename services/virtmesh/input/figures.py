"""What `virtmesh top` shows of an input device."""

from __future__ import annotations

from virtmesh.input import metrics
from virtmesh.kinds.record import Figure

FIGURES = (
    Figure("events", metrics.EVENTS_DELIVERED),
    Figure("waiting", metrics.WAITING_PACKETS),
    Figure("refused", metrics.PACKETS_REFUSED, is_total=True),
    Figure("lost", metrics.PACKETS_LOST, is_total=True),
)
