"""Finding out that the peer of a TCP connection has vanished: by default it takes two hours."""

from __future__ import annotations

import socket

SILENCE_SECONDS = 15
"""A connection that is silent for so long is probed: as gRPC's, see virtmesh_common.channel."""
PROBE_SECONDS, PROBES = 5, 2
"""Interval of the probes, and how many may stay without an answer."""


def keep_alive(connection: socket.socket) -> None:
    """Have a connection end 25 s after its peer has vanished, with data under way or without.

    What the system does not have is left at its default.
    """
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", SILENCE_SECONDS),
        ("TCP_KEEPINTVL", PROBE_SECONDS),
        ("TCP_KEEPCNT", PROBES),
        ("TCP_USER_TIMEOUT", 1000 * (SILENCE_SECONDS + PROBE_SECONDS * PROBES)),
    ):
        option = getattr(socket, name, None)
        if option is not None:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
