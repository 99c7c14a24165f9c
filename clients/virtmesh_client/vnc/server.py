"""Listens for viewers over TCP, and serves a bounded number of them."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from virtmesh_client.listening import spell_host_port
from virtmesh_client.vnc.connection import Connection
from virtmesh_client.vnc.desk import check_devices
from virtmesh_client.vnc.errors import ViewerError
from virtmesh_client.vnc.password import VARIABLE, PasswordGate
from virtmesh_client.vnc.viewer import let_in, serve_session
from virtmesh_common.cut_off import cut_off
from virtmesh_common.errors import VirtmeshError

if TYPE_CHECKING:
    from virtmesh_client.async_machine import AsyncMachine
    from virtmesh_client.vnc.options import VncOptions

VIEWERS = 8
"""Most viewers, if nothing else is said."""
STRANGERS = 16
"""Most connections of viewers that are not let in yet. For one more, one that is silent goes."""
BUFFER = 64 << 10
"""Bytes of a viewer that are read ahead."""
SEND_BUFFER = 256 << 10
"""Bytes of old pixels, at most, that are under way to a slow viewer."""


class VncServer:
    """Serves a screen to viewers.

    Example:
        server = VncServer(machine, "gpu", VncOptions())
        await server.listen("127.0.0.1", 0)
        print(server.address)
        await server.run()
    """

    def __init__(
        self, machine: AsyncMachine, screen: str, options: VncOptions, viewers: int = VIEWERS
    ) -> None:
        self._machine = machine
        self._screen = screen
        self._options = options
        self._viewers = viewers
        self._gate = None if options.password is None else PasswordGate(options.password)
        self._inside = 0
        """Viewers that were let in."""
        self._sessions: set[asyncio.Task[None]] = set()
        self._strangers: dict[Connection, asyncio.Task[None]] = {}
        """Viewers that were not let in yet, the oldest first."""
        self._server: asyncio.Server | None = None

    async def listen(self, host: str, port: int) -> None:
        """Listen. Port 0 is any that is free.

        Errors: ValueError for an address that others reach, without a password; OSError;
        DeviceNotFound and WrongKind for input devices that the options name, and others of
        `Input.info`.
        """
        addresses = await resolve(host, port)
        if self._gate is None and not all(is_loopback(one) for one in addresses):
            raise ValueError(
                f"without a password only this host may connect, and others reach {host}: set"
                f" ${VARIABLE} or give --password-file, or listen on 127.0.0.1 and let viewers"
                " come by ssh -L"
            )
        await check_devices(self._machine, self._options)
        self._server = await asyncio.start_server(self._accept, addresses, port, limit=BUFFER)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the listening socket."""
        if self._server is None:
            raise RuntimeError("the server does not listen")
        host, port = self._server.sockets[0].getsockname()[:2]
        return str(host), int(port)

    async def run(self) -> None:
        """Serve until the task is cancelled; then end all sessions."""
        try:
            await asyncio.Event().wait()
        finally:
            await self.close()

    async def close(self) -> None:
        """Listen no more, and end all sessions."""
        if self._server is not None:
            self._server.close()
        for task in self._sessions:
            task.cancel()
        await asyncio.gather(*self._sessions, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Begin the session of a viewer."""
        host, port = writer.get_extra_info("peername")[:2]
        peer = spell_host_port(host, port)
        tell = self._options.tell
        options = replace(self._options, tell=lambda line: tell(f"{peer}: {line}"))
        set_up(writer)
        tell(f"{peer} is connected")
        if len(self._strangers) >= STRANGERS:
            self._drop_a_stranger()
        connection = Connection(reader, writer, options)
        task = asyncio.create_task(self._serve(connection, writer, peer))
        self._sessions.add(task)
        self._strangers[connection] = task
        task.add_done_callback(self._sessions.discard)
        task.add_done_callback(lambda _: self._strangers.pop(connection, None))

    def _drop_a_stranger(self) -> None:
        """Drop the oldest that is silent. There is one: few are judged at a time."""
        oldest = next((one for one in self._strangers if not one.is_judged), None)
        if oldest is not None:
            oldest.options.tell("others want to come in, and it is silent")
            self._strangers.pop(oldest).cancel()

    async def _serve(self, connection: Connection, writer: asyncio.StreamWriter, peer: str) -> None:
        """Serve one viewer, or tell it that there is no room."""
        tell = self._options.tell
        end = ""
        try:
            await self._let_in_and_serve(connection)
        except (ViewerError, VirtmeshError) as error:
            end = f": {error}"
        finally:
            # What a viewer does not take is not kept.
            with contextlib.suppress(OSError):
                cut_off(writer.transport)
            tell(f"{peer} is disconnected{end}")

    async def _let_in_and_serve(self, connection: Connection) -> None:
        """Serve a viewer, if there is room. Errors: ViewerError; VirtmeshError."""
        refusal = f"{self._viewers} viewers are connected, which is the limit"
        await let_in(connection, self._gate, refusal if self._inside >= self._viewers else "")
        if self._inside >= self._viewers:
            raise ViewerError(refusal)
        self._strangers.pop(connection, None)
        self._inside += 1
        try:
            await serve_session(self._machine, self._screen, connection)
        finally:
            self._inside -= 1


def set_up(writer: asyncio.StreamWriter) -> None:
    """Find out when the viewer's host has vanished; keep little that it has not taken."""
    connection = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


async def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of a name. Errors: OSError."""
    lookup = partial(asyncio.get_running_loop().getaddrinfo, type=socket.SOCK_STREAM)
    found = await lookup(host, port, flags=socket.AI_PASSIVE)
    return sorted({str(one[4][0]) for one in found})


def is_loopback(address: str) -> bool:
    """Say whether only this host reaches an address."""
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback
