"""How a driver learns that the device used buffers."""

from __future__ import annotations

from enum import StrEnum


class InterruptMode(StrEnum):
    """How the kernel learns of used buffers."""

    INTERRUPT = "interrupt"
    POLLING = "polling"
