"""TCP connections of clients that may vanish."""

from __future__ import annotations

import socket

from virtmesh_client.serial.keepalive import keep_alive
from virtmesh_common.channel import KEEPALIVE_ANSWER_SECONDS, KEEPALIVE_SECONDS


def test_a_silent_peer_is_given_up_as_soon_as_that_of_a_call() -> None:
    """What the system was told: 25 s, idle or with data under way."""
    with socket.socket() as connection:
        keep_alive(connection)

        def asked(option: int) -> int:
            return connection.getsockopt(socket.IPPROTO_TCP, option)

        idle, interval, probes = map(
            asked, (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        )
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert idle + interval * probes == KEEPALIVE_SECONDS + KEEPALIVE_ANSWER_SECONDS
        assert asked(socket.TCP_USER_TIMEOUT) == 1000 * (idle + interval * probes)
