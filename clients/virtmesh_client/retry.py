"""How long calls wait for a service that is away, in seconds, and in milliseconds for the kernel.

Commands begin with this module: it imports no gRPC.
"""

from __future__ import annotations

import math

RETRY_SECONDS = 30.0
"""Default: longer than a service takes to start again, also where it dies several times."""
RETRY_SECONDS_MAX = 3600.0
"""What the kernel waits at most for a disk."""


def check_retry(seconds: float) -> float:
    """Return a time to wait. Errors: ValueError."""
    if math.isnan(seconds) or seconds < 0:
        raise ValueError(f"retry_for={seconds:g}: give a number of seconds, from 0 on")
    return seconds


def to_retry_ms(seconds: float) -> int:
    """Return milliseconds; more than an hour is an hour. Errors: ValueError."""
    return math.ceil(min(check_retry(seconds), RETRY_SECONDS_MAX) * 1000)
