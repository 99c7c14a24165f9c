"""What each role gets of a machine of processes by the panel: what the machine gives it by gRPC."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from playwright.sync_api import Browser, expect

from tests.integration.panel.conftest import TOKEN, PanelRig, serving_panel, visiting
from tests.support.cli import SECONDS, Cli, own_folder
from virtmesh_client.panel import server
from virtmesh_client.panel.needs import ROUTES, may
from virtmesh_client.panel.options import PanelOptions
from virtmesh_client.panel.server import serving
from virtmesh_common.security.authority import Authority
from virtmesh_common.security.roles import Role

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.processes

MACHINE = """
name = "roles"
[kernel]
listen = ["unix:kernel.sock"]
listen-roles = [
    "observer=unix:observer.sock", "injector=unix:injector.sock", "operator=unix:operator.sock"
]
[[devices]]
name = "serial"
kind = "uart"
[[devices]]
name = "vda"
kind = "blk"
[devices.options]
image = "disk.img"
size = "1M"
[[devices]]
name = "keyboard"
kind = "input"
[devices.options]
personality = "keyboard"
[[devices]]
name = "gpu"
kind = "gpu"
[devices.options]
mode = "640x480"
"""
ROLES = (Role.OBSERVER, Role.INJECTOR, Role.OPERATOR)
BEARER = {"Authorization": f"Bearer {TOKEN}"}
PROTOCOLS = ("virtmesh", f"token.{TOKEN}")
DEVICES = {
    "reset": "vda",
    "restart": "vda",
    "detach": "vda",
    "attach": "vda",
    "serial": "serial",
    "vnc": "gpu",
}
"""By a word of the path, the device that it is asked of; others are asked of the keyboard."""


@pytest.fixture(scope="module")
def machine() -> Iterator[Cli]:
    """Start a machine that listens for each role, beside a security folder."""
    with own_folder() as cli:
        Authority.create(cli.folder / "security").close()
        (cli.folder / "machine.toml").write_text(MACHINE)
        cli.up("machine.toml")
        yield cli


@pytest.fixture(scope="module")
def panel(machine: Cli) -> Iterator[PanelRig]:
    """Start its panel, with TLS."""
    with serving_panel(machine, options=("--security", "security")) as rig:
        yield rig


def token_of(machine: Cli, role: Role) -> str:
    """Make a token."""
    with Authority.open(machine.folder / "security") as authority:
        return authority.tokens.make(role, role, days=1)[0]


@dataclass(frozen=True)
class Page:
    """The socket of a page."""

    socket: aiohttp.ClientWebSocketResponse

    async def want(self, *topics: str) -> list[Any]:
        """Want topics; returns what came until the panel says what it shows, that included."""
        await self.socket.send_str(json.dumps({"wants": topics}))
        messages: list[Any] = []
        while not messages or messages[-1]["topic"] != "wants":
            messages.append(json.loads((await self.socket.receive(timeout=SECONDS)).data))
        return messages

    async def see(self, event: str) -> None:
        """Wait until an event of a device is shown."""
        while True:
            message = json.loads((await self.socket.receive(timeout=SECONDS)).data)
            if message["topic"] == "inputs" and event in json.dumps(message):
                return


@asynccontextmanager
async def page(address: str, token: str) -> AsyncIterator[Page]:
    """Open the socket of a page."""
    protocols = ("virtmesh", f"token.{token}")
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{address}live", protocols=protocols, ssl=False) as socket,
    ):
        yield Page(socket)


async def test_what_others_type_is_for_who_may_watch_it(panel: PanelRig, machine: Cli) -> None:
    """An injector sees each key, and an observer none: they may be those of a password."""
    async with (
        page(panel.address, token_of(machine, Role.OBSERVER)) as observer,
        page(panel.address, token_of(machine, Role.INJECTOR)) as injector,
    ):
        await observer.want("inputs")
        await injector.want("inputs")
        seen = asyncio.create_task(injector.see("KEY_Q"))
        while not seen.done():  # it sees what is typed once its watch has begun
            assert (await asyncio.to_thread(machine, "input", "type", "q")).returncode == 0
        await seen

        # Both were given it at once, if they were.
        assert "inputs" not in {one["topic"] for one in await observer.want("inputs")}


@pytest.mark.parametrize("role", ROLES)
async def test_the_machine_itself_refuses_as_the_panel_does(
    machine: Cli, role: Role, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A panel that has no more than a role: what is behind each path is refused by the machine.

    So the list of what the paths need is as long as it must be, and no longer.
    """
    monkeypatch.setattr(server, "SAMPLE_SECONDS", SECONDS)  # a slow machine has not gone
    address = f"unix:{machine.run_dir}/{role}.sock"
    async with (
        serving(address, PanelOptions(port=0, token=TOKEN)) as (_, port),
        aiohttp.ClientSession(headers=BEARER) as session,
    ):
        for (method, path), needs in ROUTES.items():
            word = path.rpartition("/")[2] if path.startswith("/api") else path.split("/")[1]
            url = f"http://127.0.0.1:{port}" + path.replace("{name}", DEVICES.get(word, "keyboard"))
            ask = {"serial": of_serial, "vnc": of_screen, "live": of_live}.get(word, of_request)
            assert await ask(session, method, url) is may(role, needs), path


async def of_request(session: aiohttp.ClientSession, method: str, url: str) -> bool:
    """Say whether the machine does what is asked."""
    body = {"text": "a"} if method == "POST" else None
    async with session.request(method, url, json=body) as answer:
        content = await answer.json()
        assert answer.status == 200 or content["reason"] == "NOT_ALLOWED", content
        return answer.status == 200


async def of_serial(session: aiohttp.ClientSession, _: str, url: str) -> bool:
    """Say whether the machine opens a serial port: its output comes, or what went wrong."""
    async with session.ws_connect(url, protocols=PROTOCOLS) as socket:
        message = await socket.receive(timeout=SECONDS)
        if message.type is aiohttp.WSMsgType.BINARY:
            return True
        told = json.loads(message.data)
        assert told["event"] != "error" or "is for: " in told["message"], told
        return bool(told["event"] != "error")


async def of_screen(session: aiohttp.ClientSession, _: str, url: str) -> bool:
    """Say whether the machine shows a screen: its size and name come (RFC 6143, 7.3.2)."""
    async with session.ws_connect(url, protocols=PROTOCOLS) as socket:
        for answer in (b"RFB 003.008\n", b"\x01", b"\x01"):  # the version, no security, shared
            await socket.receive(timeout=SECONDS)
            await socket.send_bytes(answer)
        received = b""
        while len(received) < 24:
            message = await socket.receive(timeout=SECONDS)
            if message.type is not aiohttp.WSMsgType.BINARY:
                return False
            received += message.data
        return True


async def of_live(session: aiohttp.ClientSession, _: str, url: str) -> bool:
    """Say whether the machine tells its state."""
    async with session.ws_connect(url, protocols=PROTOCOLS) as socket:
        while True:
            message = json.loads((await socket.receive(timeout=SECONDS)).data)
            if message["topic"] == "machine":
                devices = message["state"]["devices"]
                return not message["state"]["gone"] and not any(one["why"] for one in devices)


def test_a_page_of_an_observer(panel: PanelRig, machine: Cli, chromium: Browser) -> None:
    """It shows what it may, says why the rest is not there, and asks for none of that."""
    url = f"{panel.address}#token={token_of(machine, Role.OBSERVER)}"
    with visiting(chromium, url) as visit:
        page = visit.page
        expect(page.locator("#role")).to_have_text("observer")
        expect(page.locator("#screen-size")).to_contain_text("640")
        expect(page.locator("#console-why")).to_contain_text("may be a password")
        expect(page.locator(".plot .u-over").first).to_have_css("position", "absolute")
        page.get_by_role("tab", name="Input").click()
        expect(page.locator("#inputs-none")).to_contain_text("may be a password")
        for name in ("#capture", "#reset", "#restart", "#detach", "#type-form", "#send-cad"):
            expect(page.locator(name)).to_be_hidden()
        page.get_by_role("tab", name="Dialogue").click()
        assert machine("input", "type", "q").returncode == 0
        expect(page.locator("#dialogue li").first).to_be_visible()

        assert visit.faults == []


def test_a_page_of_an_operator(panel: PanelRig, machine: Cli, chromium: Browser) -> None:
    """It has all of it; with another token the page is that of another role."""
    operator, observer = (token_of(machine, one) for one in (Role.OPERATOR, Role.OBSERVER))
    with visiting(chromium, f"{panel.address}#token={operator}") as visit:
        page = visit.page
        expect(page.locator("#role")).to_have_text("operator")
        expect(page.locator(".xterm-rows")).to_contain_text("virtmesh>")
        expect(page.locator("#reset")).to_be_visible()
        expect(page.locator("#capture")).to_be_visible()

        page.evaluate(f"location.hash = 'token={observer}'")
        page.reload()
        expect(page.locator("#role")).to_have_text("observer")
        expect(page.locator("#console-why")).to_contain_text("may be a password")
        expect(page.locator(".xterm-rows")).to_have_count(0)
