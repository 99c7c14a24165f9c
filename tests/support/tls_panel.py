"""A panel behind TLS, with tokens of every role.

async with tls_panel(folder) as served:
    await served.status(served.token(Role.OBSERVER), "/api/about")
"""

from __future__ import annotations

import asyncio
import base64
import os
import ssl
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp

from virtmesh_client.panel.access import SUBPROTOCOL, TOKEN_PREFIX
from virtmesh_client.panel.options import PanelOptions
from virtmesh_client.panel.server import Panel, serving
from virtmesh_common.security.authority import Authority
from virtmesh_common.security.server_files import CA

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from virtmesh_common.security.roles import Role

OWN = "the-token-of-this-panel"
HOST = "panel.example"
LIMIT_SECONDS = 60.0
"""Limit for every wait."""
SWITCHING = "HTTP/1.1 101 Switching Protocols"


@dataclass(frozen=True)
class Asked:
    """A connection that asked for a socket."""

    is_open: bool
    reader: asyncio.StreamReader

    async def ends(self) -> bool:
        """Wait until the panel closes the connection; it may send states until then."""
        async with asyncio.timeout(LIMIT_SECONDS):
            while await self.reader.read(1 << 16):
                pass
        return self.reader.at_eof()


@dataclass(frozen=True)
class Served:
    """A panel behind TLS."""

    folder: Path
    port: int
    panel: Panel
    audit: list[str]
    """Lines of its audit."""

    def token(self, role: Role) -> str:
        """Make a token, which has the name of its role."""
        with Authority.open(self.folder) as authority:
            return authority.tokens.make(role.value, role, days=1)[0]

    def revoke(self, name: str) -> None:
        """Revoke all tokens of a name."""
        with Authority.open(self.folder) as authority:
            authority.tokens.revoke(name)

    def context(self) -> ssl.SSLContext:
        """Return what trusts the authority of the machine."""
        return ssl.create_default_context(cafile=str(self.folder / CA))

    def session(self) -> aiohttp.ClientSession:
        """Return a browser that does."""
        return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=self.context()))

    async def status(self, token: str, path: str, method: str = "GET", host: str = "") -> int:
        """Return the status of a request."""
        headers = {"Authorization": f"Bearer {token}", **({"Host": host} if host else {})}
        url = f"https://127.0.0.1:{self.port}{path}"
        async with self.session() as session, session.request(method, url, headers=headers) as got:
            return got.status

    @asynccontextmanager
    async def socket(
        self, token: str, path: str = "/live"
    ) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """Open a socket. Errors: WSServerHandshakeError."""
        protocols = (SUBPROTOCOL, TOKEN_PREFIX + token)
        url = f"wss://127.0.0.1:{self.port}{path}"
        async with self.session() as session, session.ws_connect(url, protocols=protocols) as found:
            yield found

    @asynccontextmanager
    async def asking(self, token: str, upgrade: str) -> AsyncIterator[Asked]:
        """Ask for the socket of a page, by a header `Upgrade` as it is given."""
        reader, writer = await asyncio.open_connection("localhost", self.port, ssl=self.context())
        key = base64.b64encode(os.urandom(16)).decode()
        head = (
            "GET /live HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
            f"Upgrade: {upgrade}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
            f"Sec-WebSocket-Protocol: {SUBPROTOCOL}, {TOKEN_PREFIX}{token}\r\n\r\n"
        )
        try:
            writer.write(head.encode())
            async with asyncio.timeout(LIMIT_SECONDS):
                first = (await reader.readline()).decode().strip()
            yield Asked(first == SWITCHING, reader)
        finally:
            writer.transport.abort()


@asynccontextmanager
async def tls_panel(folder: Path, address: str) -> AsyncIterator[Served]:
    """Serve a panel of the machine at an address, with a security folder that is made."""
    Authority.create(folder, [HOST]).close()
    lines: list[str] = []
    options = PanelOptions(port=0, token=OWN, security=folder, tell=lines.append)
    async with serving(address, options) as (panel, port):
        yield Served(folder, port, panel, lines)
