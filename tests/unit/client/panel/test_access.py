"""Who may use the panel: the checks before anything else, over real connections."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import aiohttp
import pytest

from virtmesh_client.panel.access import is_loopback_host, is_own_origin
from virtmesh_client.panel.options import PanelOptions
from virtmesh_client.panel.server import serving
from virtmesh_client.testing import FakeKernel

TOKEN = "the-token-of-this-panel"  # noqa: S105 - of this test
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
async def address() -> AsyncIterator[str]:
    """Serve a panel of a machine with one disk."""
    with FakeKernel(vda=1 << 20) as kernel:
        async with serving(kernel.address, PanelOptions(port=0, token=TOKEN)) as (_, port):
            yield f"http://127.0.0.1:{port}"


async def status(url: str, headers: Mapping[str, str]) -> int:
    """Return the status of a request."""
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
        return answer.status


@pytest.mark.parametrize(
    ("path", "headers", "expected"),
    [
        ("/", {}, 200),
        ("/static/main.js", {}, 200),
        ("/api/about", BEARER, 200),
        ("/api/about", {}, 401),
        ("/api/about", {"Authorization": "Bearer wrong"}, 401),
        ("/api/about", {"Authorization": f"Bearer {TOKEN}x"}, 401),
        ("/api/about", {"Authorization": TOKEN}, 401),
        (f"/api/about?token={TOKEN}", {}, 401),
        ("/api/about", {"Cookie": f"token={TOKEN}"}, 401),
        ("/live", {}, 401),
        ("/vnc/gpu", {}, 401),
        ("/serial/serial", {}, 401),
        ("/nothing", {}, 401),
        ("/nothing", BEARER, 404),
        ("/", {"Host": "evil.example"}, 403),
        ("/", {"Host": "127.0.0.1.evil.example:8080"}, 403),
        ("/api/about", {**BEARER, "Host": "evil.example"}, 403),
        ("/api/about", {**BEARER, "Host": "localhost:1234"}, 200),
        ("/api/about", {**BEARER, "Origin": "http://evil.example"}, 403),
        ("/api/about", {**BEARER, "Origin": "null"}, 403),
        ("/api/about", {**BEARER, "Host": "localhost:1", "Origin": "http://localhost:2"}, 403),
        ("/api/about", {**BEARER, "Host": "localhost:1", "Origin": "http://localhost:1"}, 200),
    ],
)
async def test_what_is_refused(
    address: str, path: str, headers: dict[str, str], expected: int
) -> None:
    """Files are anybody's; the machine needs the token, and no foreign Host or Origin will do."""
    assert await status(address + path, headers) == expected


@pytest.mark.parametrize(
    ("protocols", "origin", "opens"),
    [
        (("virtmesh", f"token.{TOKEN}"), "", True),
        (("virtmesh", "token.wrong"), "", False),
        (("virtmesh",), "", False),
        (("virtmesh", f"token.{TOKEN}"), "http://evil.example", False),
    ],
)
async def test_a_socket_needs_the_token(
    address: str,
    protocols: tuple[str, ...],
    origin: str,
    opens: bool,  # noqa: FBT001
) -> None:
    """It comes as a subprotocol, which is not given back."""
    headers = {"Origin": origin} if origin else {}
    async with aiohttp.ClientSession() as session:
        asked = session.ws_connect(f"{address}/live", protocols=protocols, headers=headers)
        if opens:
            async with asked as socket:
                assert socket.protocol == "virtmesh"
        else:
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await asked


async def test_every_answer_limits_the_page(address: str) -> None:
    """Refusals too: no script of another origin, no frame around it."""
    async with aiohttp.ClientSession() as session:
        for path in ("/", "/static/main.js", "/api/about"):
            async with session.get(address + path) as answer:
                policy = answer.headers["Content-Security-Policy"]
                assert "script-src 'self';" in policy
                assert "frame-ancestors 'none'" in policy
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
                assert "Server" not in answer.headers


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        ("127.0.0.1", True),
        ("127.0.0.1:8080", True),
        ("127.9.9.9", True),
        ("[::1]:8080", True),
        ("LOCALHOST:1", True),
        ("", False),
        ("0.0.0.0:8080", False),
        ("192.168.1.1", False),
        ("localhost.example", False),
        ("[::1", False),
        ("user@evil.example", False),
    ],
)
def test_hosts_of_the_loopback(host: str, ours: bool) -> None:  # noqa: FBT001
    """Only names that no name server can turn elsewhere."""
    assert is_loopback_host(host) is ours


def test_an_origin_has_the_port() -> None:
    """Another port is another service."""
    assert is_own_origin("http://127.0.0.1:8080", "127.0.0.1:8080")
    assert not is_own_origin("http://127.0.0.1:8081", "127.0.0.1:8080")
    assert not is_own_origin("file://127.0.0.1:8080", "127.0.0.1:8080")
