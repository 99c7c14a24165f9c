"""How long a call, or a stream, waits for a device or a kernel service that is away."""

from __future__ import annotations

import math

RETRY_KEY = "virtmesh-retry-for-ms"
"""Request metadata of a call that is forwarded to a device: how long to wait for it, in ms."""
RETRY_SECONDS = 30.0
"""Default: longer than a service takes to start again, also where it dies several times."""
RETRY_SECONDS_MAX = 3600.0
"""What the kernel waits at most for a device, in seconds."""


def check_retry(seconds: float) -> float:
    """Return a time to wait. Errors: ValueError."""
    if math.isnan(seconds) or seconds < 0:
        raise ValueError(f"retry_for={seconds:g}: give a number of seconds, from 0 on")
    return seconds


def to_retry_ms(seconds: float) -> int:
    """Return milliseconds; more than an hour is an hour. Errors: ValueError."""
    return math.ceil(min(check_retry(seconds), RETRY_SECONDS_MAX) * 1000)


def of_milliseconds(retry_for_ms: int) -> float:
    """Return seconds; more than an hour is an hour."""
    return min(max(retry_for_ms, 0) / 1000, RETRY_SECONDS_MAX)
