"""Counters of the host, and the session of a call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from virtmesh_common.channel import SESSION_KEY

if TYPE_CHECKING:
    import grpc.aio


@dataclass
class HostCounters:
    """Counters since the service started (GetStatsResponse)."""

    mmio_reads: int = 0
    mmio_writes: int = 0
    mmio_messages: int = 0
    mmio_errors: int = 0
    notifications_rpc: int = 0


def session_of(context: grpc.aio.ServicerContext[Any, Any]) -> str | None:
    """Return the session identifier in the metadata of a call; None without one."""
    for key, value in context.invocation_metadata() or ():
        if key == SESSION_KEY and isinstance(value, str):
            return value
    return None
