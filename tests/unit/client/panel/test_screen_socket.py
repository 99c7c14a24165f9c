"""What a browser sends to the screen: handed on in pieces, and no faster than it is read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from virtmesh_client.panel.keys import OWN, WHO, Keys
from virtmesh_client.panel.screen_socket import PIECE_BYTES, feed
from virtmesh_client.panel.sockets import MESSAGE_MAX_BYTES, Seats

TOKEN = "the-token-of-this-panel"  # noqa: S105 - of this test
PROTOCOLS = ("virtmesh", f"token.{TOKEN}")
MESSAGES = 4
EVENT_BYTES = 6
"""Those of a PointerEvent (RFC 6143, 7.5.5)."""
LIMIT_SECONDS = 20.0


@asynccontextmanager
async def fed() -> AsyncIterator[tuple[asyncio.StreamReader, aiohttp.ClientWebSocketResponse]]:
    """Serve a socket that feeds a reader. Yields the reader, and the browser's end."""
    reader, seats = asyncio.StreamReader(limit=PIECE_BYTES), Seats(Keys(TOKEN))

    async def serve(request: web.Request) -> web.WebSocketResponse:
        WHO.set(OWN)
        async with seats.open(request) as socket:
            await feed(socket, reader)
        return socket

    app = web.Application()
    app.router.add_get("/", serve)
    async with (
        TestServer(app) as server,
        aiohttp.ClientSession() as session,
        session.ws_connect(server.make_url("/"), protocols=PROTOCOLS) as socket,
    ):
        yield reader, socket


async def test_others_get_their_turns_while_a_flood_is_read() -> None:
    """A reader that takes event by event, and never waits itself, waits for each piece."""
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with fed() as (reader, socket), asyncio.timeout(LIMIT_SECONDS):
        flood = bytes(MESSAGE_MAX_BYTES // EVENT_BYTES * EVENT_BYTES)
        for _ in range(MESSAGES):
            await socket.send_bytes(flood)
        counting = asyncio.create_task(others())
        longest = events = 0
        while events < MESSAGES * len(flood) // EVENT_BYTES:
            before, in_turn = turns, 0
            while turns == before and events < MESSAGES * len(flood) // EVENT_BYTES:
                await reader.readexactly(EVENT_BYTES)
                in_turn, events = in_turn + 1, events + 1
            longest = max(longest, in_turn)
        counting.cancel()

    assert longest <= 4 * PIECE_BYTES // EVENT_BYTES


async def test_what_is_sent_is_read() -> None:
    """All of it, in order, also by a reader that wants more than a piece."""
    async with fed() as (reader, socket), asyncio.timeout(LIMIT_SECONDS):
        sent = bytes(number * 7 % 251 for number in range(3 * PIECE_BYTES + 5))
        await socket.send_bytes(sent)
        assert await reader.readexactly(len(sent)) == sent
        await socket.close()
        with pytest.raises(asyncio.IncompleteReadError):
            await reader.readexactly(1)


async def test_a_message_is_no_longer_than_noVNC_makes_them() -> None:
    """One that is longer ends the socket: it is too big (RFC 6455, 7.4.1)."""
    async with fed() as (_, socket):
        await socket.send_bytes(bytes(MESSAGE_MAX_BYTES + 1))
        assert (await socket.receive(timeout=LIMIT_SECONDS)).type is aiohttp.WSMsgType.CLOSE
        assert socket.close_code == aiohttp.WSCloseCode.MESSAGE_TOO_BIG
