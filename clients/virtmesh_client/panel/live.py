"""The WebSocket of a page: states and events to the browser, and what it wants to see from it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from typing import TYPE_CHECKING

from aiohttp import WSMsgType, web

from virtmesh_client.panel.hub import DIALOGUE, INPUTS, REGISTERS
from virtmesh_client.panel.keys import WHO
from virtmesh_client.panel.mailbox import Mailbox
from virtmesh_client.panel.needs import may_want, parts_of
from virtmesh_client.panel.sockets import BAD_MESSAGE
from virtmesh_common.names import NAME_PATTERN

if TYPE_CHECKING:
    from virtmesh_client.panel.hub import Hub
    from virtmesh_client.panel.sockets import Seats
    from virtmesh_common.security.roles import Role

WANTS_MAX = 8
TOPIC = re.compile(f"{INPUTS}|{DIALOGUE}(?:{NAME_PATTERN})?|{REGISTERS}{NAME_PATTERN}")
WANT_SECONDS = 0.05
"""Shortest time between two messages of a browser: others wait, where TCP holds them up."""
SEND_SECONDS = 0.05
"""Shortest time between two messages to a browser."""


class Live:
    """Serves browsers."""

    def __init__(self, hub: Hub, seats: Seats) -> None:
        self._hub = hub
        self._seats = seats

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """Serve one browser until it leaves."""
        async with self._seats.open(request) as socket:
            role, mailbox = WHO.get().role, Mailbox()
            mailbox.put_state("role", {"role": role, "may": parts_of(role)})
            self._hub.join(mailbox)
            sender = asyncio.create_task(self._send(socket, mailbox))
            try:
                with contextlib.suppress(ConnectionError):  # It is lost while a ping is answered.
                    await self._listen(socket, mailbox, role)
            finally:
                sender.cancel()
                await asyncio.gather(sender, return_exceptions=True)
                await self._hub.leave(mailbox)
        return socket

    async def _listen(self, socket: web.WebSocketResponse, mailbox: Mailbox, role: Role) -> None:
        """Take what a browser wants to see. What its role may not see is left out, and said."""
        async for message in socket:
            topics = parse_wants(message.data) if message.type is WSMsgType.TEXT else None
            if topics is None:
                await socket.close(code=BAD_MESSAGE, message=b"no list of topics")
                return
            shown = frozenset(topic for topic in topics if may_want(role, topic))
            told = {"shown": sorted(shown), "refused": sorted(topics - shown)}
            mailbox.put_state("wants", told)
            self._hub.want(mailbox, shown)
            await asyncio.sleep(WANT_SECONDS)

    async def _send(self, socket: web.WebSocketResponse, mailbox: Mailbox) -> None:
        """Send what is there, as fast as the browser takes it."""
        with contextlib.suppress(ConnectionError):
            while True:
                for message in await mailbox.take():
                    await socket.send_str(json.dumps(message))
                await asyncio.sleep(SEND_SECONDS)


def parse_wants(text: str) -> frozenset[str] | None:
    """Return the topics that a browser wants; None for what is no list of them."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return None
    wants = content.get("wants") if isinstance(content, dict) else None
    if not isinstance(wants, list) or len(wants) > WANTS_MAX:
        return None
    if not all(isinstance(one, str) and TOPIC.fullmatch(one) for one in wants):
        return None
    return frozenset(wants)
