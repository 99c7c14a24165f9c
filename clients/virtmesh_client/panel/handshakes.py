"""Handshakes of TLS: how many may be under way, and how long one may take.

asyncio's own server begins as many as come, and tells nobody before they are done.
"""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING

from virtmesh_common.cut_off import cut_off

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from virtmesh_client.panel.doors import Doors

HANDSHAKE_SECONDS = 5.0
"""How long a browser may take, as at the gRPC listeners of a machine."""


class Handshake(asyncio.Protocol):
    """A connection that was accepted: takes a place, and speaks TLS before anything else."""

    def __init__(
        self, doors: Doors, context: ssl.SSLContext, make: Callable[[], asyncio.Protocol]
    ) -> None:
        self._doors = doors
        self._context = context
        self._make = make

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, or close the connection."""
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("a panel speaks over streams")
        if self._doors.has_room(begins=True):
            try:
                descriptor = os.dup(transport.get_extra_info("socket").fileno())
            except OSError:  # no descriptor is left
                cut_off(transport)
                return
            # Nothing was read yet: this transport goes, and its connection stays.
            task = asyncio.create_task(self._shake(socket.socket(fileno=descriptor)))
            self._doors.beginning[task] = None
            task.add_done_callback(lambda done: self._doors.beginning.pop(done, None))
        cut_off(transport)

    async def _shake(self, connection: socket.socket) -> None:
        """Shake hands; the door takes the place over as soon as that is done."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        connection.setblocking(False)  # noqa: FBT003 - as socket has it
        try:
            await loop.connect_accepted_socket(
                lambda: self._doors.door(self._make, task),
                connection,
                ssl=self._context,
                ssl_handshake_timeout=HANDSHAKE_SECONDS,
            )
        except OSError:  # it left, or took too long, or speaks something else
            connection.close()
        except asyncio.CancelledError:
            connection.close()
            raise
