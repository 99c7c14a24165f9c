"""How long the kernel waits for a disk that is away, for a call."""

from __future__ import annotations

import math

from virtmesh_client.patience import RETRY_SECONDS, RETRY_SECONDS_MAX, check_retry

__all__ = ["RETRY_SECONDS", "RETRY_SECONDS_MAX", "to_retry_ms"]


def to_retry_ms(seconds: float) -> int:
    """Return milliseconds; more than an hour is an hour. Errors: ValueError."""
    return math.ceil(min(check_retry(seconds), RETRY_SECONDS_MAX) * 1000)
