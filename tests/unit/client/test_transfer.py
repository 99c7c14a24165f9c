"""In which pieces a copy is sent."""

from __future__ import annotations

from virtmesh_client.blk.transfer import FIRST_BYTES, LEAST_BYTES, SLOW_S, Feed
from virtmesh_common.api.kernel.v1 import block_device_pb2 as kernel_pb
from virtmesh_common.sizes import CHUNK_LIMIT_BYTES


class Clock:
    """The clock of a feed: each piece takes as long as the test says."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def pieces(data: bytes, seconds: float) -> list[bytes]:
    """Send data over a link on which each piece takes so long."""
    clock = Clock()
    feed = Feed(kernel_pb.WriteHeader(device="vda"), iter([data]), len(data), clock)
    sent: list[bytes] = []
    for request in feed.requests():
        clock.now += seconds
        if request.WhichOneof("content") == "data":
            sent.append(request.data)
    assert feed.sent == len(data)
    assert b"".join(sent) == data
    return sent


def test_quick_links_get_large_pieces() -> None:
    """Each twice as large as the one before it, up to the limit."""
    sizes = [len(piece) for piece in pieces(bytes(range(256)) * (1 << 14), 0.0)]
    assert sizes[:5] == [FIRST_BYTES << shift for shift in range(5)]
    assert max(sizes) == CHUNK_LIMIT_BYTES


def test_slow_links_get_small_pieces() -> None:
    """So that the service sees that something comes."""
    sizes = [len(piece) for piece in pieces(bytes(range(256)) * (1 << 11), 2 * SLOW_S)]
    assert sizes[:3] == [FIRST_BYTES, FIRST_BYTES // 2, LEAST_BYTES]
    assert set(sizes[2:]) == {LEAST_BYTES}
