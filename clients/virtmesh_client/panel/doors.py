"""Connections: how many there may be, and how long one may have its place and do nothing.

Who connects has a place before anything is known of it, and before TLS has begun. So one that asks
for nothing, sends its request too slowly or takes no answer is closed after a time, and the oldest
of those that ask for nothing makes room for a new one; before that, the oldest handshake does.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import web

from virtmesh_client.panel.limits import CONNECTIONS
from virtmesh_common.cut_off import cut_off

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.typedefs import Handler

BEGINNING_MAX = 128
"""Most connections whose handshake is under way: they leave places to those who are in."""


class Doors:
    """Makes the protocol of each connection. `make` makes those of a web server."""

    def __init__(self, idle_seconds: float, most: int = CONNECTIONS.default) -> None:
        self._most = most
        self.idle_seconds = idle_seconds
        self.open: dict[object, Door] = {}
        """By the protocol behind each."""
        self.idle: dict[Door, None] = {}
        """Those without a request, the oldest first."""
        self.beginning: dict[asyncio.Task[None], None] = {}
        """Handshakes under way, the oldest first."""

    def door(
        self,
        make: Callable[[], asyncio.Protocol],
        beginning: asyncio.Task[None] | None = None,
    ) -> Door:
        """Return what a new connection speaks to, once its handshake is done if it has one."""
        return Door(self, make, beginning)

    def has_room(self, *, begins: bool = False) -> bool:
        """Say whether one more may come in, or begin to; who does nothing for longest leaves."""
        is_full = len(self.open) + len(self.beginning) >= self._most
        if self.beginning and (is_full or (begins and len(self.beginning) >= BEGINNING_MAX)):
            oldest = next(iter(self.beginning))
            del self.beginning[oldest]
            oldest.cancel()
        elif is_full and self.idle:
            next(iter(self.idle)).close()
        return len(self.open) + len(self.beginning) < self._most

    def close(self) -> None:
        """End the handshakes that are under way."""
        for task in self.beginning:
            task.cancel()

    @web.middleware
    async def pass_request(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let a connection do as it likes while its answer is made, or its WebSocket is open."""
        door = self.open.get(request.protocol)
        if door is not None:
            door.set_idle(idle=False)
        try:
            return await handler(request)
        finally:
            if door is not None:
                door.set_idle(idle=True)


class Door(asyncio.Protocol):
    """One connection: passes everything on, and closes what does nothing for too long."""

    def __init__(
        self,
        doors: Doors,
        make: Callable[[], asyncio.Protocol],
        beginning: asyncio.Task[None] | None = None,
    ) -> None:
        self._doors = doors
        self._make = make
        self._beginning = beginning
        self._inner: asyncio.Protocol | None = None
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_idle = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a place, or close the connection."""
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("a panel speaks over streams")
        self._transport = transport
        if self._beginning is not None:  # its handshake had the place, and may have lost it
            self._doors.beginning.pop(self._beginning, None)
        if not self._doors.has_room():
            cut_off(transport)
            return
        self._inner = self._make()
        self._doors.open[self._inner] = self
        self.set_idle(idle=True)
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Pass bytes on."""
        if self._inner is not None:
            self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        """Pass the end of input on."""
        return self._inner.eof_received() if self._inner is not None else None

    def pause_writing(self) -> None:
        """Pass on that the browser takes nothing."""
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Pass on that it goes on: it gets time for the next part of its answer."""
        self._set_timer()
        if self._inner is not None:
            self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place back."""
        self._leave()
        if self._inner is not None:
            self._inner.connection_lost(exc)

    def set_idle(self, *, idle: bool) -> None:
        """Note whether a request is being answered."""
        if self._inner not in self._doors.open:
            return
        self._is_idle = idle
        self._doors.idle.pop(self, None)
        if idle:
            self._doors.idle[self] = None
        self._set_timer()

    def close(self) -> None:
        """Close the connection at once, whatever waits to be sent."""
        self._leave()
        if self._transport is not None:
            cut_off(self._transport)

    def _leave(self) -> None:
        """Give the place back."""
        self._doors.idle.pop(self, None)
        self._doors.open.pop(self._inner, None)
        self._stop_timer()

    def _set_timer(self) -> None:
        """Begin to wait anew: for a request, or until an answer that was made is taken."""
        self._stop_timer()
        if self._is_idle:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._doors.idle_seconds, self.close)

    def _stop_timer(self) -> None:
        """Wait for nothing."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
