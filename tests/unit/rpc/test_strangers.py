"""Sockets of strangers: who leaves when too many wait, and the descriptors that nobody wants."""

from __future__ import annotations

import os
import socket
import time
from collections import Counter
from pathlib import Path

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hypothesis import given
from hypothesis import strategies as st
from virtmesh_native import unclosed

from tests.support.lingering import SOON, lingering_sockets
from virtmesh.rpc.server import Server
from virtmesh.rpc.strangers import (
    Peer,
    close_all,
    hang_up,
    peer_of,
    take_no_descriptors,
    who_leaves,
)
from virtmesh_common.channel import open_channel

CONNECTIONS = 12
"""More than the threads with which gRPC reads."""


def test_who_connected_is_known() -> None:
    """By process and user."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert peer_of(ours) == Peer(os.getuid(), os.getpid())


@pytest.mark.parametrize(
    ("waiting", "leaves"),
    [
        ("a1 b1 b1 b1", 1),
        ("a1 b1 b2 b3", 1),
        ("b1 a1 a1 b2 b2", 3),
        ("a1 b1 c1", 0),
        ("a1 a2 a2 a1", 0),
    ],
)
def test_who_leaves(waiting: str, leaves: int) -> None:
    """The oldest of the process that has most, of the user that has most."""
    peers = [Peer(ord(name[0]), int(name[1])) for name in waiting.split()]
    assert who_leaves(peers) == leaves


@given(
    attacker=st.lists(st.integers(1, 3), min_size=2, max_size=20),
    innocent=st.integers(0, 20),
)
def test_another_user_with_one_connection_stays(attacker: list[int], innocent: int) -> None:
    """However many processes the user has that makes all others."""
    waiting = [Peer(1, process) for process in attacker]
    waiting.insert(innocent, Peer(2, 7))
    assert waiting[who_leaves(waiting)].user == 1


@given(waiting=st.lists(st.builds(Peer, st.integers(0, 2), st.integers(0, 2)), min_size=1))
def test_nobody_with_less_leaves(waiting: list[Peer]) -> None:
    """Of its user, nobody has more connections than who leaves."""
    leaves = waiting[who_leaves(waiting)]
    counts = Counter(peer for peer in waiting if peer.user == leaves.user)
    assert counts[leaves] == max(counts.values())


def test_the_other_end_of_a_socket_that_is_hung_up_knows_it_at_once() -> None:
    """Though it is closed later."""
    ours, theirs = socket.socketpair()
    hang_up(ours)
    with theirs:
        assert theirs.recv(1) == b""


def test_closing_waits_for_nobody() -> None:
    """Not for a TCP socket that lingers; more of them than there are threads are closed."""
    start = time.monotonic()
    with lingering_sockets() as lingering:
        close_all([lingering.make() for _ in range(CONNECTIONS)])
        while unclosed():
            time.sleep(0)
            assert time.monotonic() - start < SOON


async def test_a_grpc_server_takes_no_descriptors(tmp_path: Path) -> None:
    """A dozen of them froze it: their closes waited on the threads that read."""
    path = tmp_path / "grpc.sock"
    server = Server([f"unix:{path}"])
    await server.start([])
    ours, theirs = socket.socketpair()
    with ours, theirs:
        if not take_no_descriptors(ours):
            pytest.skip("this kernel can't refuse descriptors (Linux 6.16 can)")
    strangers = [socket.socket(socket.AF_UNIX) for _ in range(CONNECTIONS)]
    with lingering_sockets() as lingering:
        start = time.monotonic()
        for stranger in strangers:
            stranger.connect(str(path))
            descriptor = lingering.make()
            with pytest.raises(PermissionError):
                socket.send_fds(stranger, [b"PRI * HTTP/2.0"], [descriptor])
            close_all([descriptor])
        async with open_channel(f"unix:{path}") as channel:
            health = health_pb2_grpc.HealthStub(channel)
            answer = await health.Check(health_pb2.HealthCheckRequest(), timeout=SOON)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        assert time.monotonic() - start < SOON
    for stranger in strangers:
        stranger.close()
    await server.stop(0)
