"""WebSockets of the panel: how many there may be, and how large a message."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from aiohttp import web

from virtmesh_client.panel.access import SUBPROTOCOL
from virtmesh_client.panel.limits import SOCKETS

if TYPE_CHECKING:
    from collections.abc import Iterator

MESSAGE_MAX_BYTES = 64 << 10
"""Longest message of a browser; noVNC sends at most 10 KiB at once."""
HEARTBEAT_SECONDS = 20.0
"""How often a browser is asked whether it is still there."""
BAD_MESSAGE = 1008
"""The close code for a message that does not parse (RFC 6455, 7.4.1)."""
TRY_LATER = 1013
"""The close code for what may work later (IANA's registry)."""


class Seats:
    """Counts sockets."""

    def __init__(self, most: int = SOCKETS.default) -> None:
        self._most = most
        self.taken = 0

    @contextlib.contextmanager
    def take(self) -> Iterator[None]:
        """Take one for as long as the body runs. Errors: HTTPServiceUnavailable."""
        if self.taken >= self._most:
            raise web.HTTPServiceUnavailable(
                text=f"{self._most} sockets are open: close other pages of the panel"
            )
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1


async def open_socket(request: web.Request) -> web.WebSocketResponse:
    """Accept a WebSocket. A browser that does not answer to pings is cut off."""
    socket = web.WebSocketResponse(
        protocols=(SUBPROTOCOL,),
        heartbeat=HEARTBEAT_SECONDS,
        max_msg_size=MESSAGE_MAX_BYTES,
        compress=False,
    )
    await socket.prepare(request)
    return socket
