"""The panel as a web server: which path is whose, and how many may come."""

from __future__ import annotations

import asyncio
import logging
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from virtmesh_client.async_machine import AsyncMachine
from virtmesh_client.listening import spell_host_port, spell_listen_error
from virtmesh_client.machine import connect
from virtmesh_client.panel.access import Guard, add_headers, is_loopback_host
from virtmesh_client.panel.actions import Actions
from virtmesh_client.panel.audit import Audit
from virtmesh_client.panel.doors import Doors
from virtmesh_client.panel.files import Files
from virtmesh_client.panel.handshakes import Handshake
from virtmesh_client.panel.hub import Hub
from virtmesh_client.panel.keys import Keys
from virtmesh_client.panel.live import Live
from virtmesh_client.panel.screen_socket import ScreenSocket
from virtmesh_client.panel.serial_socket import SerialSocket
from virtmesh_client.panel.sockets import Seats
from virtmesh_common.errors import AddressTaken
from virtmesh_common.names import NAME_PATTERN
from virtmesh_common.security.authority import LOCAL_HOSTS, Authority
from virtmesh_common.security.folder import SecurityFolder
from virtmesh_common.security.server_tls import ServerTls
from virtmesh_common.security.tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from aiohttp.typedefs import Handler

    from virtmesh_client.panel.options import PanelOptions

log = logging.getLogger(__name__)

REQUESTS = logging.getLogger("virtmesh_client.panel.requests")
"""Gets what the web server says of requests."""

BODY_MAX_BYTES = 64 << 10
SAMPLE_SECONDS = 2.0
"""How long a machine may take to answer before it counts as gone."""
STOP_SECONDS = 2.0


class Tls:
    """What the panel takes from a security folder. Errors: SecurityError."""

    def __init__(self, path: Path) -> None:
        Authority.open(path).close()
        self._folder = SecurityFolder(path)
        try:
            self.server = ServerTls(self._folder, log.warning, demand_certificate=False)
            self.tokens = Tokens(self._folder)
            self.tokens.all()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the folder."""
        self._folder.close()


ACTION_RETRY_SECONDS = 5.0
"""How long what somebody does by the page waits for a kernel service that was lost."""


class Panel:
    """One panel of one machine. `address` is that of its kernel service."""

    def __init__(self, address: str, options: PanelOptions) -> None:
        # What is sampled says at once that the machine is away, and is sampled again by itself.
        self._sampled = connect(
            address, timeout=SAMPLE_SECONDS, insecure=options.insecure, retry_for=0
        )
        self.machine = AsyncMachine(
            connect(address, insecure=options.insecure, retry_for=ACTION_RETRY_SECONDS)
        )
        self.hub = Hub(self._sampled, self.machine)
        self.doors = Doors(options.idle_seconds, options.limits.connections)
        self.tls = Tls(options.security) if options.security else None
        keys = Keys(options.token, self.tls.tokens if self.tls else None)
        self.seats = Seats(keys, options.limits.sockets)
        self._audit = Audit(options.tell)
        guard = Guard(keys, self._audit, self.tls.server.hosts if self.tls else tuple)
        files = Files()
        self.app = web.Application(
            middlewares=[self.doors.pass_request, guard.check, named],
            client_max_size=BODY_MAX_BYTES,
        )
        self.app.on_response_prepare.append(add_headers)
        self.app.add_routes(
            [
                web.get("/", files.page),
                web.get("/static/{path:.+}", files.file),
                web.get("/live", Live(self.hub, self.seats).serve),
                web.get("/serial/{name}", SerialSocket(self.machine, self.seats).serve),
                web.get("/vnc/{name}", ScreenSocket(self.machine, self.seats).serve),
                *Actions(self.machine, self.hub).routes(),
            ]
        )

    def arrival(self, make: Callable[[], asyncio.Protocol]) -> asyncio.Protocol:
        """Return what a new connection speaks to. `make` makes what takes its requests."""
        return (
            Handshake(self.doors, self.tls.server.context(), make)
            if self.tls
            else self.doors.door(make)
        )

    def name(self, host: str) -> str:
        """Return a name by which a browser finds the panel, which listens at an address."""
        known = self.tls.server.hosts() if self.tls else ()
        if is_loopback_host(spell_host_port(host, 0)) or host in known:
            return host
        return next((one for one in known if one not in LOCAL_HOSTS), LOCAL_HOSTS[0])

    async def close(self) -> None:
        """End what is open."""
        self.doors.close()
        await self.seats.close()
        self._audit.flush()
        await self.hub.close()
        await self.machine.close()
        self._sampled.close()


@web.middleware
async def named(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse names that no device can have. Errors: HTTPNotFound."""
    name = request.match_info.get("name")
    if name is not None and not re.fullmatch(NAME_PATTERN, name):
        raise web.HTTPNotFound(text="no device can have this name")
    return await handler(request)


def is_fault(record: logging.LogRecord) -> bool:
    """Say whether a line is about more than bytes that are no request: anybody sends those."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


@asynccontextmanager
async def serving(address: str, options: PanelOptions) -> AsyncIterator[tuple[Panel, int]]:
    """Serve a panel for as long as the body runs. Yields it with its port.

    Errors: AddressTaken; SecurityError.
    """
    panel = Panel(address, options)
    REQUESTS.addFilter(is_fault)
    runner = web.AppRunner(
        panel.app, access_log=None, logger=REQUESTS, shutdown_timeout=STOP_SECONDS
    )
    await runner.setup()
    try:
        inner = runner.server
        if inner is None:
            raise RuntimeError("the runner was set up, and has no server")

        try:
            server = await asyncio.get_running_loop().create_server(
                lambda: panel.arrival(inner), options.host, options.port
            )
        except OSError as error:
            raise AddressTaken(spell_listen_error(options.host, options.port, error)) from error
        try:
            yield panel, server.sockets[0].getsockname()[1]
        finally:
            server.close()
    finally:
        await panel.close()
        await runner.cleanup()
        if panel.tls is not None:
            panel.tls.close()
