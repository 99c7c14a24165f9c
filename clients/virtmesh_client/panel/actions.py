"""What people do to the machine with buttons, and what a page asks once: requests and answers."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import grpc
from aiohttp import web

from virtmesh_client.register_table import spell_interface
from virtmesh_client.vnc.desk import is_keyboard
from virtmesh_common import __version__
from virtmesh_common.errors import VirtmeshError
from virtmesh_common.printable import printable

if TYPE_CHECKING:
    from virtmesh_client.async_machine import AsyncMachine
    from virtmesh_client.panel.hub import Hub

TEXT_MAX = 4096
"""Longest text that is typed at once."""
DELIVERY_SECONDS = 5.0
"""How long what is injected may wait without progress until its driver has it."""
CODES = {
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 409,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}
UNAVAILABLE = 503
"""The status of every other error: the machine may answer later."""

Handler = Callable[[web.Request], Awaitable[object]]


def answers(handler: Handler) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Answer with JSON, also when the machine refuses."""

    async def call(request: web.Request) -> web.Response:
        try:
            return web.json_response(await handler(request))
        except VirtmeshError as error:
            content = {"reason": error.reason, "message": printable(error.message)}
            return web.json_response(content, status=CODES.get(error.code, UNAVAILABLE))

    return call


class Actions:
    """Answers requests."""

    def __init__(self, machine: AsyncMachine, hub: Hub) -> None:
        self._machine = machine
        self._hub = hub

    def routes(self) -> list[web.RouteDef]:
        """Return what is answered."""
        device = "/api/devices/{name}"
        return [
            web.get("/api/about", answers(self.about)),
            web.get(f"{device}/registers", answers(self.registers)),
            web.post(f"{device}/reset", answers(self.reset)),
            web.post(f"{device}/restart", answers(self.restart)),
            web.post(f"{device}/detach", answers(self.detach)),
            web.post(f"{device}/attach", answers(self.attach)),
            web.post(f"{device}/type", answers(self.type)),
            web.post(f"{device}/key", answers(self.key)),
            web.get(f"{device}/input", answers(self.input)),
            web.post(f"{device}/release", answers(self.release)),
        ]

    async def about(self, _request: web.Request) -> object:
        """Say what this is. The page asks this to learn whether its token opens the panel."""
        return {"version": __version__, "address": self._machine.address}

    async def registers(self, request: web.Request) -> object:
        """Describe the register window of a device."""
        name = request.match_info["name"]
        about = await self._machine.description(name)
        return spell_interface(about, await self._machine.interface(name))

    async def reset(self, request: web.Request) -> object:
        """Reset a device."""
        self._hub.nudge()
        state = await self._machine.reset(request.match_info["name"])
        self._hub.nudge()
        return {"state": state}

    async def restart(self, request: web.Request) -> object:
        """End the service of a device, and start it anew."""
        self._hub.nudge()
        state = await self._machine.restart(request.match_info["name"])
        self._hub.nudge()
        return {"state": state}

    async def detach(self, request: web.Request) -> object:
        """Detach a device."""
        await self._machine.detach(request.match_info["name"])
        self._hub.nudge()
        return {"state": "detached"}

    async def attach(self, request: web.Request) -> object:
        """Attach a device."""
        state = await self._machine.attach(request.match_info["name"])
        self._hub.nudge()
        return {"state": state}

    async def type(self, request: web.Request) -> object:
        """Type text on a keyboard."""
        text = await text_of(request)
        name = request.match_info["name"]
        async with self._machine.input(name, timeout=DELIVERY_SECONDS) as device:
            return asdict(await device.type(text, wait="delivered"))

    async def key(self, request: web.Request) -> object:
        """Press a chord on a keyboard."""
        chord = await text_of(request)
        name = request.match_info["name"]
        async with self._machine.input(name, timeout=DELIVERY_SECONDS) as device:
            return asdict(await device.key(chord, wait="delivered"))

    async def input(self, request: web.Request) -> object:
        """Return the account of an input device, and whether it is one to type on."""
        device = self._machine.input(request.match_info["name"])
        is_typed_on = is_keyboard(await device.info())
        return {"is_keyboard": is_typed_on, "stats": asdict(await device.stats())}

    async def release(self, request: web.Request) -> object:
        """Release every key."""
        device = self._machine.input(request.match_info["name"])
        return {"keys": await device.release_all()}


async def text_of(request: web.Request) -> str:
    """Return the text of a request. Errors: HTTPBadRequest."""
    try:
        content: Any = json.loads(await request.read())
    except (ValueError, RecursionError):
        content = None
    text = content.get("text") if isinstance(content, dict) else None
    if not isinstance(text, str) or not 0 < len(text) <= TEXT_MAX:
        raise web.HTTPBadRequest(text=f'send {{"text": "..."}} of 1 to {TEXT_MAX} characters')
    return text
