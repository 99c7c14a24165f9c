"""WebSockets of the panel: how many there may be, how large a message, and when they end."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from aiohttp import web

from virtmesh_client.panel.access import SUBPROTOCOL, token_of
from virtmesh_client.panel.keys import OWN, WHO
from virtmesh_client.panel.limits import SOCKETS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from virtmesh_client.panel.keys import Keys
    from virtmesh_common.security.identity import Identity

MESSAGE_MAX_BYTES = 64 << 10
"""Longest message of a browser; noVNC sends at most 10 KiB at once."""
HEARTBEAT_SECONDS = 20.0
"""How often a browser is asked whether it is still there."""
BAD_MESSAGE = 1008
"""The close code for a message that does not parse (RFC 6455, 7.4.1)."""
OF_ONE = 2
"""One token of the machine may have one part of so many of the sockets."""
TRY_LATER = 1013
"""The close code for what may work later (IANA's registry)."""


class Seats:
    """The sockets that are open: how many, and whom to end when a token counts no more."""

    def __init__(self, keys: Keys, most: int = SOCKETS.default) -> None:
        self._keys = keys
        self._most = most
        self._tasks: dict[asyncio.Task[object], Identity] = {}
        """What serves each socket, and who opened it."""

    @property
    def taken(self) -> int:
        """How many sockets there are."""
        return len(self._tasks)

    @contextlib.asynccontextmanager
    async def open(self, request: web.Request) -> AsyncIterator[web.WebSocketResponse]:
        """Accept a WebSocket for as long as the body runs, its token counts, and the panel runs.

        This is the only way to one: whatever a request looks like, its socket has a seat. A browser
        that does not answer to pings is cut off. Errors: HTTPServiceUnavailable; HTTPBadRequest.
        """
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a request is handled outside of a task")
        who = WHO.get()
        own = sum(other == who for other in self._tasks.values())
        if len(self._tasks) >= self._most or (who != OWN and own * OF_ONE >= self._most):
            raise web.HTTPServiceUnavailable(
                text=f"{len(self._tasks)} sockets are open, {own} of this token: close other pages"
                f" of the panel, or start it with --limit sockets=N ({self._most} now; one token of"
                " the machine has half of them)"
            )
        self._tasks[task] = who
        watching = asyncio.create_task(self._keys.watch(token_of(request), who))
        watching.add_done_callback(lambda done: None if done.cancelled() else task.cancel())
        try:
            socket = web.WebSocketResponse(
                protocols=(SUBPROTOCOL,),
                heartbeat=HEARTBEAT_SECONDS,
                max_msg_size=MESSAGE_MAX_BYTES,
                compress=False,
            )
            await socket.prepare(request)
            yield socket
        finally:
            watching.cancel()
            del self._tasks[task]

    async def close(self) -> None:
        """End all sockets."""
        tasks = set(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
