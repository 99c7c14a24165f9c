"""Which methods take one request, and how large requests may be.

gRPC has one limit for all messages of a server. Few requests need it, and a request stays in memory
for as long as its call, which may be a stream that never ends. A message of many tiny parts takes
30 times its size once it is parsed, so only those that carry plain bytes or text may be large.
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
OF_STREAMS = {
    "/virtmesh.kernel.v1.GuestService/AttachGuest": REQUEST_LIMIT_BYTES,
    # 1024 events, in every form
    "/virtmesh.input.v1.InputService/Inject": REQUEST_LIMIT_BYTES,
    # 4096 accesses in three columns, in the longest form of each number
    "/virtmesh.register.v1.RegisterService/Access": 256 << 10,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": REQUEST_LIMIT_BYTES,
}
"""Largest message of streams of requests whose messages have many parts, in bytes."""


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
    single = {
        method: REQUEST_LIMIT_BYTES
        for method in known_methods()
        if takes_one(method) and method not in LARGE
    }
    return single | OF_STREAMS
