"""The path of the handover socket: who may connect, and who may listen there."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.support.handover import connected, good
from virtmesh.attach.server import HandoverServer
from virtmesh_common.errors import AddressTaken


async def test_the_socket_is_for_owner_and_group(server: HandoverServer) -> None:
    """Nobody else can hand memory over."""
    assert server.path.stat().st_mode & 0o777 == 0o660


async def test_a_live_socket_is_not_taken_over(server: HandoverServer) -> None:
    """A second service on the same path is refused, the first goes on."""
    with pytest.raises(AddressTaken, match="another service listens"):
        HandoverServer(server.path, queue_size_max=(64, 64)).listen()
    with connected(server) as driver:
        assert (await driver.hand_over(good)).ticket


async def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    """A service that was killed leaves its socket; the next one takes the path."""
    path = tmp_path / "handover"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as dead:
        dead.bind(str(path))
    server = HandoverServer(path, queue_size_max=(64, 64))
    server.listen()
    with connected(server) as driver:
        assert (await driver.hand_over(good)).ticket
    server.close()
    assert not path.exists()


async def test_the_socket_of_a_successor_is_left(tmp_path: Path) -> None:
    """Who stops removes its own socket, not one that came after it."""
    path = tmp_path / "handover"
    server = HandoverServer(path, queue_size_max=(64, 64))
    server.listen()
    path.unlink()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as successor:
        successor.bind(str(path))
        server.close()
    assert path.is_socket()


async def test_a_path_that_is_too_long(tmp_path: Path) -> None:
    """The error says which option to change."""
    with pytest.raises(AddressTaken, match="choose a shorter --handover"):
        HandoverServer(tmp_path / ("x" * 108), queue_size_max=(64, 64)).listen()
