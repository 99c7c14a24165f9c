"""The serial console: output as binary messages, what happened to the line as JSON."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from aiohttp import WSMsgType, web

from virtmesh_client.panel.sockets import BAD_MESSAGE, TRY_LATER
from virtmesh_client.serial.models import Output
from virtmesh_common.errors import VirtmeshError
from virtmesh_common.printable import printable

if TYPE_CHECKING:
    from virtmesh_client.async_machine import AsyncMachine
    from virtmesh_client.panel.sockets import Seats
    from virtmesh_client.serial.aio import AsyncSerial, AsyncSerialWatch

TAIL_BYTES = 32 << 10
"""Earlier output that a page gets at its start."""
INPUT_SECONDS = 5.0
"""How long input waits for a machine that takes none."""


class SerialSocket:
    """Serves consoles."""

    def __init__(self, machine: AsyncMachine, seats: Seats) -> None:
        self._machine = machine
        self._seats = seats

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        """Serve one console until the browser leaves, or the port does for good."""
        async with self._seats.open(request) as socket:
            try:
                async with (
                    self._machine.serial(request.match_info["name"]) as serial,
                    await serial.watch(tail=TAIL_BYTES) as watch,
                ):
                    await self._talk(socket, serial, watch)
            except VirtmeshError as error:
                with contextlib.suppress(ConnectionError):
                    await tell(socket, "error", {"message": printable(error.message)})
                    await socket.close(code=TRY_LATER, message=error.reason.encode())
        return socket

    async def _talk(
        self, socket: web.WebSocketResponse, serial: AsyncSerial, watch: AsyncSerialWatch
    ) -> None:
        """Carry both directions. Errors: VirtmeshError."""
        sides = [
            asyncio.create_task(show(socket, watch)),
            asyncio.create_task(take_input(socket, serial)),
        ]
        try:
            await asyncio.wait(sides, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for side in sides:
                side.cancel()
            ends = await asyncio.gather(*sides, return_exceptions=True)
        for end in ends:
            if isinstance(end, VirtmeshError):
                raise end


async def show(socket: web.WebSocketResponse, watch: AsyncSerialWatch) -> None:
    """Send what the machine sends. While the browser does not read, the oldest is dropped."""
    with contextlib.suppress(ConnectionError):
        async for event in watch:
            if isinstance(event, Output):
                await socket.send_bytes(event.data)
            else:
                await tell(socket, type(event).__name__.casefold(), asdict(event))


async def take_input(socket: web.WebSocketResponse, serial: AsyncSerial) -> None:
    """Send what is typed. What the machine does not take is reported, and lost."""
    async for message in socket:
        if message.type is not WSMsgType.BINARY:
            await socket.close(code=BAD_MESSAGE, message=b"input is binary")
            return
        try:
            await serial.write(message.data, wait="sent", timeout=INPUT_SECONDS)
        except VirtmeshError as error:
            await tell(socket, "refused", {"message": printable(error.message)})


async def tell(socket: web.WebSocketResponse, event: str, content: dict[str, object]) -> None:
    """Tell what happened. Errors: ConnectionError."""
    await socket.send_str(json.dumps({"event": event, **content}, default=str))
