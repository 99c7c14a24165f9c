"""Ports for services that can't be given port 0, since something else has to name them first."""

from __future__ import annotations

import random
import socket
from contextlib import suppress
from pathlib import Path

LOWEST = 15_000
EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_port() -> int:
    """Return a port that nobody listens at.

    It lies below those that the system gives to connections and to port 0: until the service has
    it, nobody gets it by chance.
    """
    ports = range(LOWEST, int(EPHEMERAL.read_text(encoding="ascii").split()[0]))
    for port in random.sample(ports, len(ports)):
        with suppress(OSError), socket.create_server(("", port)):
            return port
    raise OSError("every port is taken")
