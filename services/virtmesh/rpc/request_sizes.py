"""Which methods take one request, and how large it may be.

gRPC has one limit for all messages of a server. Few requests need it, and a request stays in memory
for as long as its call, which may be a stream that never ends.
"""

from __future__ import annotations

from functools import cache

from virtmesh.rpc.metrics import TAKE_ONE, known_methods
from virtmesh_common.channel import MESSAGE_LIMIT_BYTES

REQUEST_LIMIT_BYTES = 64 << 10
"""Largest request of a method that takes one, of most methods."""
LARGE = frozenset(
    (
        "/virtmesh.cpu.v1.CpuService/WriteMemory",
        "/virtmesh.input.v1.InputService/Type",
        "/virtmesh.uart.v1.UartService/Write",
    )
)
"""Methods whose one request carries data: it may be as large as any message."""


def takes_one(method: str) -> bool:
    """Say whether a method of the contracts takes one request; of unknown ones: no."""
    labels = known_methods().get(method)
    return labels is not None and labels[0] in TAKE_ONE


def largest_request(method: str) -> int:
    """Return how large a request of a method may be, in bytes."""
    return _largest().get(method, MESSAGE_LIMIT_BYTES)


@cache
def _largest() -> dict[str, int]:
    """Return the methods that may not have the largest messages."""
    return {
        method: REQUEST_LIMIT_BYTES
        for method in known_methods()
        if takes_one(method) and method not in LARGE
    }
