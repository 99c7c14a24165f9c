"""What `virtmesh top` shows of an input device."""

from __future__ import annotations

from virtmesh.input.metrics import EVENTS_DELIVERED, PACKETS_LOST, PACKETS_REFUSED, WAITING_PACKETS
from virtmesh.kinds.record import Figure

FIGURES = (
    Figure("events", EVENTS_DELIVERED),
    Figure("waiting", WAITING_PACKETS),
    Figure("refused", PACKETS_REFUSED, is_total=True),
    Figure("lost", PACKETS_LOST, is_total=True),
)
