"""How long a call waits for a disk that is away: see virtmesh_common.retry."""

from virtmesh_common.retry import RETRY_SECONDS, RETRY_SECONDS_MAX, to_retry_ms

__all__ = ["RETRY_SECONDS", "RETRY_SECONDS_MAX", "to_retry_ms"]
