"""Where a metrics server listens: unix:PATH, or HOST:PORT."""

from __future__ import annotations

import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from virtmesh.rpc.locks import Locks
from virtmesh.rpc.unix_listener import UnixListener
from virtmesh_common.channel import check_address
from virtmesh_common.errors import AddressTaken

if TYPE_CHECKING:
    from virtmesh.rpc.locks import Listener as Place

BACKLOG = 128
"""Connections that wait to be accepted."""


def check_metrics_address(address: str) -> str:
    """Return the address of a metrics server. Errors: ValueError."""
    try:
        return check_address(address)
    except ValueError:
        raise ValueError(
            f"{address!r} is not an address for metrics: write HOST:PORT or unix:PATH"
        ) from None


def find_place(address: str, locks: Locks) -> Place:
    """Return what protects the address of a metrics server. Errors: ValueError; Unprotected."""
    places = Locks(locks.security, insecure=locks.insecure).listeners(
        [check_metrics_address(address)]
    )
    return next(iter(places))


class Listener:
    """A listening socket that does not block. Errors: ValueError; AddressTaken."""

    def __init__(self, address: str) -> None:
        address = check_metrics_address(address)
        self._unix: UnixListener | None = None
        if address.startswith("unix:"):
            self._unix = UnixListener(Path(address.removeprefix("unix:")), option="--metrics")
            self.socket = self._unix.socket
            self.address = address
        else:
            self.socket = _listen(address)
            host = address.rpartition(":")[0]
            self.address = f"{host}:{self.socket.getsockname()[1]}"
        """Where it listens; the port is the actual one."""

    def close(self) -> None:
        """Stop listening."""
        if self._unix:
            self._unix.remove()
        with suppress(OSError):
            self.socket.close()


def _listen(address: str) -> socket.socket:
    """Listen on TCP. Errors: AddressTaken."""
    host, _, port = address.rpartition(":")
    try:
        family, kind, _, _, place = socket.getaddrinfo(
            host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(place)
            listening.listen(BACKLOG)
        except OSError:
            listening.close()
            raise
    except OSError as error:
        raise AddressTaken(
            f"{address}: can't serve metrics there: {error.strerror}: choose another address"
        ) from error
    listening.setblocking(False)  # noqa: FBT003 - as socket has it
    return listening
