"""Who may use the panel: Host, Origin and token are checked before anything else is looked at.

A page of another site may make a browser send requests here, and a name that it owns may point to
this host (DNS rebinding). So the Host must be a name of the loopback, or one that the certificate
of the panel has, an Origin must be ours, and the token comes in a header that a foreign page can't
set: unlike a cookie it is not sent by itself.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from aiohttp import web

from virtmesh_client.panel.audit import BEGUN, ENDED, NOBODY, SOCKETS, Audit, Stranger, changes
from virtmesh_client.panel.keys import WHO, Keys
from virtmesh_client.panel.needs import may, needs_of, resource_of
from virtmesh_common.errors import VirtmeshError
from virtmesh_common.security.names import AUTHORIZATION, BEARER

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from aiohttp.typedefs import Handler

    from virtmesh_common.security.identity import Identity

SUBPROTOCOL = "virtmesh"
"""What the browser asks for beside the token, and is answered with."""
TOKEN_PREFIX = "token."  # noqa: S105 - it is none

HEADERS = {
    # xterm.js and noVNC make style elements; scripts are ours alone.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline';"
        " img-src 'self' data: blob:; font-src 'self'; connect-src 'self'; base-uri 'none';"
        " form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def name_of(host: str) -> str:
    """Return the name in a Host header, without the port; empty for none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def is_loopback_host(host: str) -> bool:
    """Say whether a Host header names this host: the port is not of interest."""
    name = name_of(host)
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def is_own_origin(origin: str, host: str) -> bool:
    """Say whether an Origin is that of the page, whose Host is `host`."""
    return origin.casefold() in {f"http://{host}".casefold(), f"https://{host}".casefold()}


def token_of(request: web.Request) -> str:
    """Return the token of a request; empty without one."""
    header = request.headers.get(AUTHORIZATION, "")
    if header.startswith(BEARER):
        return header.removeprefix(BEARER)
    asked = request.headers.get("Sec-WebSocket-Protocol", "")
    words = (word.strip() for word in asked.split(","))
    found = (one.removeprefix(TOKEN_PREFIX) for one in words if one.startswith(TOKEN_PREFIX))
    return next(found, "")


class Guard:
    """Checks each request, and writes down what is refused and what changes something."""

    def __init__(
        self, keys: Keys, audit: Audit, hosts: Callable[[], Collection[str]] = tuple
    ) -> None:
        self._keys = keys
        self._audit = audit
        self._hosts = hosts
        """Returns the names of the certificate, of which there may be more later."""

    @web.middleware
    async def check(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse what does not come from the page. Errors: HTTPForbidden; HTTPUnauthorized."""
        host = request.headers.get("Host", "")
        if not is_loopback_host(host) and not self._is_ours(name_of(host)):
            mend = "a name that its certificate has" if self._hosts() else "127.0.0.1 or localhost"
            self._audit.note(Stranger(), request, "403", "host")
            raise web.HTTPForbidden(text=f"this Host is not the panel: use {mend}")
        origin = request.headers.get("Origin")
        if origin is not None and not is_own_origin(origin, host):
            self._audit.note(Stranger(), request, "403", "origin")
            raise web.HTTPForbidden(text="another site asks: its Origin is not that of the panel")
        needs = needs_of(request)
        if needs is None:
            return await handler(request)
        who = self._find(request)
        if not may(who.role, needs):
            self._audit.note(who, request, "403", "role")
            content = {"reason": "NOT_ALLOWED", "message": f"the role {who.role} may not do that"}
            return web.json_response(content, status=web.HTTPForbidden.status_code)
        WHO.set(who)
        return await self._watched(who, request, handler)

    def _is_ours(self, name: str) -> bool:
        """Say whether the certificate has a name."""
        return name in {one.casefold() for one in self._hosts()}

    def _find(self, request: web.Request) -> Identity:
        """Return who asks. Errors: HTTPUnauthorized."""
        try:
            return self._keys.find(token_of(request))
        except VirtmeshError as error:
            known = error.metadata
            stranger = Stranger(known.get("identity") or NOBODY, known.get("serial", ""))
            self._audit.note(stranger, request, "401", known.get("state") or "token")
            raise web.HTTPUnauthorized(
                text="the token is missing or wrong, or counts no more: the panel printed one at"
                " its start",
                headers={"WWW-Authenticate": "Bearer"},
            ) from None

    async def _watched(
        self, who: Identity, request: web.Request, handler: Handler
    ) -> web.StreamResponse:
        """Answer, and write down what changes something. Errors: those of the handler."""
        path = resource_of(request)
        if not changes(request, path):
            return await handler(request)
        outcome = "500"
        if path in SOCKETS:
            outcome = ENDED
            self._audit.note(who, request, BEGUN)
        try:
            response = await handler(request)
            if path not in SOCKETS:
                outcome = str(response.status)
        except web.HTTPException as error:
            outcome = str(error.status)
            raise
        else:
            return response
        finally:
            self._audit.note(who, request, outcome)


async def add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """Tell the browser what the page may do: with every answer, those of errors too."""
    response.headers.update(HEADERS)
    response.headers.pop("Server", None)
