"""The screen: RFB inside a WebSocket, as noVNC speaks it, to the client library's VNC server."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from aiohttp import WSMsgType, web

from virtmesh_client.panel.keys import WHO
from virtmesh_client.panel.needs import USE, may
from virtmesh_client.panel.sockets import BAD_MESSAGE, TRY_LATER
from virtmesh_client.vnc import ViewerError, VncOptions, serve_viewer
from virtmesh_common.errors import VirtmeshError

if TYPE_CHECKING:
    from virtmesh_client.async_machine import AsyncMachine
    from virtmesh_client.panel.sockets import Seats

REASON_MAX_BYTES = 120
PIECE_BYTES = 4 << 10
"""Input that is handed to the server at once: it takes all of that before anybody else's turn."""


class Valve(asyncio.ReadTransport):
    """What a StreamReader closes while more waits than it wants."""

    def __init__(self) -> None:
        super().__init__()
        self.passing = asyncio.Event()
        self.passing.set()

    def pause_reading(self) -> None:
        """Stop the input."""
        self.passing.clear()

    def resume_reading(self) -> None:
        """Let input pass again."""
        self.passing.set()


class SocketWriter:
    """Writes to a WebSocket as to an asyncio.StreamWriter."""

    def __init__(self, socket: web.WebSocketResponse) -> None:
        self._socket = socket
        self._waiting = bytearray()
        self._closed = False

    def write(self, data: bytes, /) -> None:
        """Hand bytes over; `drain` sends them."""
        self._waiting += data

    async def drain(self) -> None:
        """Send what was written, and wait until the browser takes more. Errors: ConnectionError."""
        if self._closed or self._socket.closed:
            raise ConnectionResetError("the browser has left")
        if self._waiting:
            data, self._waiting = bytes(self._waiting), bytearray()
            await self._socket.send_bytes(data)

    def close(self) -> None:
        """Write nothing any more."""
        self._closed = True


class ScreenSocket:
    """Serves viewers."""

    def __init__(self, machine: AsyncMachine, seats: Seats) -> None:
        self._machine = machine
        self._seats = seats

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """Serve one viewer until it leaves, or the screen goes away."""
        async with self._seats.open(request) as socket:
            why = await self._show(request.match_info["name"], socket)
            with contextlib.suppress(ConnectionError):
                await socket.close(code=TRY_LATER, message=clip(why))
        return socket

    async def _show(self, name: str, socket: web.WebSocketResponse) -> str:
        """Serve a viewer; returns why that ended, empty if nothing was said of it."""
        reader = asyncio.StreamReader(limit=PIECE_BYTES)
        feeding = asyncio.create_task(feed(socket, reader))
        told: list[str] = []
        try:
            await serve_viewer(
                self._machine,
                name,
                reader,
                SocketWriter(socket),
                VncOptions(tell=told.append, view_only=not may(WHO.get().role, USE)),
            )
        except (VirtmeshError, ViewerError) as error:
            told.append(str(error))
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
        return told[-1] if told else ""


async def feed(socket: web.WebSocketResponse, reader: asyncio.StreamReader) -> None:
    """Hand what the browser sends to the reader, no faster than it is read."""
    valve = Valve()
    reader.set_transport(valve)
    try:
        async for message in socket:
            if message.type is not WSMsgType.BINARY:
                await socket.close(code=BAD_MESSAGE, message=b"RFB is binary")
                return
            for start in range(0, len(message.data), PIECE_BYTES):
                reader.feed_data(message.data[start : start + PIECE_BYTES])
                await valve.passing.wait()
    finally:
        reader.feed_eof()


def clip(text: str) -> bytes:
    """Return what fits into a close frame (RFC 6455, 5.5: 125 bytes, two of them for the code)."""
    return text.encode()[:REASON_MAX_BYTES].decode(errors="ignore").encode()
