"""What the chip and the line count: the seam to the far end's service and to the metrics."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class UartCounters:
    """Counters since the device was made (virtmesh.uart.v1.GetStatsResponse says what each is)."""

    received: int = 0
    transmitted: int = 0
    overruns: int = 0
    parity_errors: int = 0
    framing_errors: int = 0
    breaks: int = 0
    breaks_sent: int = 0
    discarded: int = 0
    transmit_overruns: int = 0
    refused_bytes: int = 0
    unattended_bytes: int = 0
