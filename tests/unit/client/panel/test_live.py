"""The sockets of pages: what they bring, and what is left when they are gone."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from yarl import URL

from virtmesh_client.aio.threads import SHARED
from virtmesh_client.panel.limits import SOCKETS
from virtmesh_client.panel.live import WANT_SECONDS
from virtmesh_client.panel.options import PanelOptions
from virtmesh_client.panel.server import Panel, serving
from virtmesh_client.testing import FakeKernel

TOKEN = "the-token-of-this-panel"  # noqa: S105 - of this test
PROTOCOLS = ("virtmesh", f"token.{TOKEN}")
BEARER = {"Authorization": f"Bearer {TOKEN}"}
RELOADS = 100
THREADS_OF_A_PAGE = 8


@dataclass
class Rig:
    """A panel and a client of it."""

    panel: Panel
    address: str
    session: aiohttp.ClientSession
    kernel: FakeKernel

    async def open(self) -> aiohttp.ClientWebSocketResponse:
        """Open a page's socket."""
        return await self.session.ws_connect(f"{self.address}/live", protocols=PROTOCOLS)


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    """Serve a panel of a machine with one disk."""
    with FakeKernel(vda=1 << 20) as kernel:
        async with (
            serving(kernel.address, PanelOptions(port=0, token=TOKEN)) as (panel, port),
            aiohttp.ClientSession() as session,
        ):
            yield Rig(panel, f"http://127.0.0.1:{port}", session, kernel)


async def next_state(socket: aiohttp.ClientWebSocketResponse, topic: str) -> Any:
    """Return the next state of a topic."""
    while True:
        message = json.loads((await socket.receive(timeout=10)).data)
        if message["topic"] == topic:
            return message["state"]


async def all_gone(panel: Panel) -> None:
    """Wait until the last socket has ended on the panel's side."""
    async with asyncio.timeout(10):
        while panel.seats.taken or panel.hub.browsers or panel.hub.working:  # noqa: ASYNC110
            await asyncio.sleep(0)


async def test_a_page_gets_the_state_of_the_machine(rig: Rig) -> None:
    """Its devices, by name and state."""
    async with await rig.open() as socket:
        state = await next_state(socket, "machine")

    assert (state["machine"], state["gone"]) == ("fake", "")
    assert [(one["name"], one["state"]) for one in state["devices"]] == [("vda", "ready")]


async def test_a_machine_that_is_gone_is_a_state(rig: Rig) -> None:
    """The page stays, and is told why."""
    async with await rig.open() as socket:
        await next_state(socket, "machine")
        rig.kernel.close()
        while not (await next_state(socket, "machine"))["gone"]:
            pass
        assert not socket.closed


async def test_a_hundred_reloads_leave_nothing_behind(rig: Rig) -> None:
    """No task, no mailbox, no seat; no more threads than one page has."""
    threads = SHARED.busy + SHARED.idle
    for _ in range(RELOADS):
        socket = await rig.open()
        await socket.send_str(json.dumps({"wants": ["dialogue:", "inputs", "registers:vda"]}))
        await socket.close()
    await all_gone(rig.panel)

    assert SHARED.busy + SHARED.idle <= threads + THREADS_OF_A_PAGE
    assert [task for task in asyncio.all_tasks() if "panel/hub.py" in repr(task)] == []


@pytest.mark.parametrize(
    "message",
    [
        "no json",
        "[]",
        '{"wants": "dialogue:"}',
        '{"wants": [1]}',
        '{"wants": ["weather"]}',
        '{"wants": ["registers:"]}',
        '{"wants": ["registers:vda\\u0000"]}',
        json.dumps({"wants": ["dialogue:" + "x" * 300]}),
        json.dumps({"wants": [f"registers:vd{number}" for number in range(50)]}),
        "[" * 20_000,
    ],
)
async def test_what_a_page_never_says_ends_it(rig: Rig, message: str) -> None:
    """The socket is closed with a reason; others go on."""
    async with asyncio.timeout(10), await rig.open() as bad, await rig.open() as good:
        await bad.send_str(message)
        while (answer := await bad.receive(timeout=10)).type is aiohttp.WSMsgType.TEXT:
            pass
        assert answer.type is aiohttp.WSMsgType.CLOSE
        assert await next_state(good, "machine")


async def test_a_message_that_is_too_long_ends_the_socket(rig: Rig) -> None:
    """Nothing that large is kept."""
    async with await rig.open() as socket:
        await socket.send_str("x" * (1 << 20))
        while (answer := await socket.receive(timeout=10)).type is aiohttp.WSMsgType.TEXT:
            pass
        assert answer.type in {aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED}


async def test_pages_that_want_without_end_let_others_in_between(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So many messages of a page are looked at in a second, and the rest wait at its end."""
    looked_at = 0
    want = rig.panel.hub.want

    def counted(*arguments: Any) -> None:
        nonlocal looked_at
        looked_at += 1
        want(*arguments)

    monkeypatch.setattr(rig.panel.hub, "want", counted)

    async def flood(socket: aiohttp.ClientWebSocketResponse) -> None:
        """Change its mind, and read nothing."""
        with contextlib.suppress(ConnectionError):
            while True:
                for wants in (["dialogue:", "inputs"], []):
                    await socket.send_str(json.dumps({"wants": wants}))
                await asyncio.sleep(0)

    loop = asyncio.get_running_loop()
    async with await rig.open() as one, await rig.open() as other:
        begun = loop.time()
        floods = [asyncio.create_task(flood(socket)) for socket in (one, other)]
        served = 0
        while served < 20 or not looked_at:
            served += 1
            async with rig.session.get(f"{rig.address}/api/about", headers=BEARER) as answer:
                assert answer.status == 200
        most = 2 * ((loop.time() - begun) / WANT_SECONDS + 1)
        assert looked_at <= most
        for task in floods:
            task.cancel()
        await asyncio.gather(*floods, return_exceptions=True)


async def test_there_is_room_for_so_many_sockets(rig: Rig) -> None:
    """One more is refused, until another one is closed."""
    sockets = [await rig.open() for _ in range(SOCKETS.default)]
    with pytest.raises(aiohttp.WSServerHandshakeError, match="503"):
        await rig.open()
    for socket in sockets:
        await socket.close()
    await all_gone(rig.panel)
    async with await rig.open() as socket:
        assert await next_state(socket, "machine")


@pytest.mark.parametrize(
    ("path", "status", "reason"),
    [
        ("/api/devices/vdz/registers", 404, "DEVICE_NOT_FOUND"),
        ("/api/devices/vda/reset", 501, "NOT_OFFERED"),
        ("/api/devices/vda/restart", 501, "NOT_OFFERED"),
    ],
)
async def test_what_the_machine_refuses_is_told(
    rig: Rig, path: str, status: int, reason: str
) -> None:
    """With its reason and its words."""
    method = "GET" if path.endswith("registers") else "POST"
    async with rig.session.request(method, rig.address + path, headers=BEARER) as answer:
        content = await answer.json()

    assert (answer.status, content["reason"]) == (status, reason)
    assert content["message"]


@pytest.mark.parametrize("body", ["", "[]", '{"text": 1}', '{"text": ""}', "[" * 9999])
async def test_text_that_is_none_is_refused(rig: Rig, body: str) -> None:
    """Before the machine is asked."""
    url = f"{rig.address}/api/devices/keyboard/type"
    async with rig.session.post(url, data=body, headers=BEARER) as answer:
        assert answer.status == 400


async def test_text_of_an_unknown_encoding_is_read_as_utf_8(rig: Rig) -> None:
    """JSON has no other; what the header says of it is not of interest (RFC 8259, 8.1, 11)."""
    url = f"{rig.address}/api/devices/vda/type"
    headers = {**BEARER, "Content-Type": "application/json; charset=of-nobody"}
    async with rig.session.post(url, data=b'{"text": "a"}', headers=headers) as answer:
        assert answer.status == 501


@pytest.mark.parametrize("name", ["%00", "%0A", "%FF", "%C3%A9", "a%20b", "Vda", "x" * 5000])
async def test_a_name_that_no_device_can_have_is_not_found(rig: Rig, name: str) -> None:
    """Neither by requests nor by sockets."""
    for path in (f"/api/devices/{name}/registers", f"/serial/{name}", f"/vnc/{name}"):
        url = URL(rig.address + path, encoded=True)
        async with rig.session.get(url, headers=BEARER) as answer:
            assert answer.status == 404


async def test_files_are_loaded_once(rig: Rig) -> None:
    """A browser that has a file is told so; a path leads nowhere else."""
    async with rig.session.get(f"{rig.address}/static/main.js") as first:
        tag = {"If-None-Match": first.headers["ETag"]}
    async with rig.session.get(f"{rig.address}/static/main.js", headers=tag) as again:
        assert again.status == 304
    for path in ("/static/../server.py", "/static/%2e%2e/server.py", "/static//etc/passwd"):
        async with rig.session.get(rig.address + path, headers=BEARER) as answer:
            assert answer.status == 404
