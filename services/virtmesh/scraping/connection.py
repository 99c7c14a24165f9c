"""One connection of a metrics server: one request, one answer, and each has its time."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from socket import MSG_DONTWAIT, MSG_PEEK
from typing import TYPE_CHECKING

import h11

from virtmesh.scraping.routes import Answer, refusal
from virtmesh_common.cut_off import cut_off
from virtmesh_common.time_limit import time_limit

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Awaitable, Callable

    from virtmesh.scraping.guard import Guard

REQUEST_SECONDS = 5.0
"""How long a peer may take to make its request, the handshake of TLS included."""
ANSWER_SECONDS = 10.0
"""How long a peer may take to read the answer."""
REQUEST_BYTES = 8 << 10
"""Most bytes of a request."""
PART_BYTES = 64 << 10
"""Bytes of an answer that are given to the socket at once: while more wait, none are added."""
PATIENCE_SECONDS = 0.1
"""A peer that has not gone on for so long may lose its place to another one."""
SILENT, SLOW, LEFT = "silent", "slow", "left"
"""Why a connection ended early: no request in time, the answer not read in time, the peer went."""


class Cut(Exception):
    """The connection ended early; the argument says why."""


class Connection:
    """A peer that was accepted."""

    def __init__(self, peer: socket.socket, guard: Guard | None) -> None:
        self._socket = peer
        self._guard = guard
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=REQUEST_BYTES)
        self._waits_since: float | None = asyncio.get_running_loop().time()
        """Since when it is the peer who has to go on; None while it is the service."""

    async def serve(self, answer: Callable[[h11.Request], Awaitable[Answer]]) -> None:
        """Read the request and write what `answer` returns for it. Errors: Cut; OSError."""
        writer: asyncio.StreamWriter | None = None
        try:
            async with _limit(REQUEST_SECONDS, SILENT):
                reader, writer = await self._open()
                request = await self._read(reader)
            if self._guard and not self._guard.admits(writer.get_extra_info("ssl_object")):
                request = refusal(403, "this certificate may not read the page, or counts no more")
            method = b""
            if isinstance(request, Answer):
                found = request
            else:
                method, self._waits_since = request.method, None
                found = await answer(request)
                self._waits_since = asyncio.get_running_loop().time()
            async with _limit(ANSWER_SECONDS, SLOW):
                await self._write(writer, found, method)
                writer.close()
                with suppress(OSError):  # it has the answer, and may leave as it likes
                    await writer.wait_closed()
        finally:
            if writer is not None:
                cut_off(writer.transport)

    def is_idle(self) -> bool:
        """Say whether the peer has not gone on for a while: it may be cut off for another one.

        What it has sent and nobody has read yet is for the service to go on with.
        """
        since = self._waits_since
        if since is None or asyncio.get_running_loop().time() - since < PATIENCE_SECONDS:
            return False
        try:
            return not self._socket.recv(1, MSG_PEEK | MSG_DONTWAIT)
        except OSError:  # nothing has come, or it has gone
            return True

    def close(self) -> None:
        """Give the descriptor back. Call it when `serve` has ended, or never began."""
        self._socket.close()

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Return the streams of the connection, after the handshake of TLS if there is one."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(REQUEST_BYTES)
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await loop.connect_accepted_socket(
            lambda: protocol, self._socket, ssl=self._guard.context() if self._guard else None
        )
        # With a limit of 0, asyncio's TLS waits for a buffer that has less than nothing in it.
        transport.set_write_buffer_limits(high=PART_BYTES, low=0)
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)

    async def _read(self, reader: asyncio.StreamReader) -> h11.Request | Answer:
        """Return the request, or the refusal of what is none. Errors: Cut; OSError."""
        try:
            while (event := self._http.next_event()) is h11.NEED_DATA:
                data = await reader.read(REQUEST_BYTES)
                if not data:
                    raise Cut(LEFT)
                self._http.receive_data(data)
        except h11.RemoteProtocolError as error:
            return refusal(error.error_status_hint, "this is no request of HTTP/1.1 that is taken")
        if not isinstance(event, h11.Request):
            raise Cut(LEFT)
        return event

    async def _write(self, writer: asyncio.StreamWriter, answer: Answer, method: bytes) -> None:
        """Write the answer, a part at a time. Errors: OSError."""
        head = h11.Response(status_code=answer.status, headers=answer.headers)
        writer.write(self._http.send(head) or b"")
        content = b"" if method == b"HEAD" else answer.content
        for begin in range(0, len(content), PART_BYTES):
            writer.write(self._http.send(h11.Data(content[begin : begin + PART_BYTES])) or b"")
            await writer.drain()


@asynccontextmanager
async def _limit(seconds: float, why: str) -> AsyncIterator[None]:
    """Run the block for so long at most. Errors: Cut."""
    try:
        async with time_limit(seconds):
            yield
    except TimeoutError:
        raise Cut(why) from None
