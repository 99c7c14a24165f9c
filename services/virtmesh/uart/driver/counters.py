"""What the driver of a serial port counts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class SerialDriverCounters:
    """What the driver has seen since it was started."""

    received: int = 0
    """Characters read from the port, breaks among them."""
    sent: int = 0
    """Characters written to the port."""
    interrupts: int = 0
    """Times that the interrupt line was found asserted."""
    breaks: int = 0
    """Breaks that came."""
    parity_errors: int = 0
    """Characters that came with a parity error."""
    framing_errors: int = 0
    """Characters that came with a framing error."""
    modem_changes: int = 0
    """Times that MSR showed a change."""
    held_back: int = 0
    """Times that the receive queue was full."""
    storms: int = 0
    """Times that the port interrupted without a reason, STORM_ROUNDS times in a row."""
