"""The panel behind TLS, for browsers of other hosts: tokens of the machine, each with its role."""

from __future__ import annotations

import asyncio
import contextlib

import aiohttp
import pytest

from tests.support.tls_panel import HOST, LIMIT_SECONDS, OWN, Served
from virtmesh_client.panel import handshakes
from virtmesh_client.panel.doors import BEGINNING_MAX
from virtmesh_client.panel.limits import CONNECTIONS
from virtmesh_common.security.roles import Role


@pytest.mark.parametrize(
    ("role", "looks", "types", "resets"),
    [
        (Role.OBSERVER, True, False, False),
        (Role.INJECTOR, True, True, False),
        (Role.OPERATOR, True, True, True),
        (Role.OWNER, True, True, True),
        (Role.DRIVER, False, False, False),
    ],
)
async def test_each_role_has_its_part(
    panel: Served,
    role: Role,
    looks: bool,  # noqa: FBT001
    types: bool,  # noqa: FBT001
    resets: bool,  # noqa: FBT001
) -> None:
    """To look, to use the keyboard, to take devices away."""
    token = panel.token(role)
    refused = 403 if looks else 401

    assert await panel.status(token, "/api/about") == (200 if looks else 401)
    typed = await panel.status(token, "/api/devices/vda/type", "POST")
    assert typed == (400 if types else refused)  # nothing was sent to type
    reset = await panel.status(token, "/api/devices/nothing/reset", "POST")
    assert (reset != refused) is resets


async def test_its_own_token_does_everything(panel: Served) -> None:
    """As ever; others do nothing."""
    assert await panel.status(OWN, "/api/about") == 200
    assert await panel.status("vmt_000000000000_" + "x" * 32, "/api/about") == 401


async def test_hosts_are_those_of_the_certificate(panel: Served) -> None:
    """And of the loopback: a name that somebody else owns is none (DNS rebinding)."""
    assert await panel.status(OWN, "/api/about", host=f"{HOST}:{panel.port}") == 200
    assert await panel.status(OWN, "/api/about", host="evil.example") == 403


async def test_plain_text_is_not_answered(panel: Served) -> None:
    """A browser that speaks HTTP gets nothing of the page."""
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientError):
            await session.get(f"http://127.0.0.1:{panel.port}/")


async def test_a_revoked_token_loses_its_open_socket(panel: Served) -> None:
    """Not only the next request."""
    token = panel.token(Role.OBSERVER)
    async with panel.socket(token) as socket:
        assert (await socket.receive(timeout=LIMIT_SECONDS)).type is aiohttp.WSMsgType.TEXT
        panel.revoke("observer")
        while (await socket.receive(timeout=LIMIT_SECONDS)).type is aiohttp.WSMsgType.TEXT:
            pass

    assert await panel.status(token, "/api/about") == 401


async def test_handshakes_that_are_left_half_are_bounded(
    panel: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest leaves for a newcomer; who is in stays, and who shakes hands gets in."""
    monkeypatch.setattr(handshakes, "HANDSHAKE_SECONDS", 300.0)  # time ends none of them
    url = f"https://127.0.0.1:{panel.port}/api/about"
    headers = {"Authorization": f"Bearer {OWN}"}
    async with panel.session() as session:
        async with session.get(url, headers=headers) as before:
            assert before.status == 200
        silent = [
            await asyncio.open_connection("127.0.0.1", panel.port)
            for _ in range(BEGINNING_MAX + CONNECTIONS.default)
        ]
        try:
            ends = [
                asyncio.create_task(end_of(reader)) for reader, _ in silent[: CONNECTIONS.default]
            ]
            await asyncio.gather(*ends)
            assert not silent[-1][0].at_eof()
            async with session.get(url, headers=headers) as after:
                assert after.status == 200
            assert await panel.status(OWN, "/api/about") == 200
        finally:
            for _, writer in silent:
                writer.close()


async def test_a_handshake_that_takes_too_long_is_ended(
    panel: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that has begun."""
    monkeypatch.setattr(handshakes, "HANDSHAKE_SECONDS", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", panel.port)
    writer.write(b"\x16\x03\x01")
    await end_of(reader)
    writer.close()


async def end_of(reader: asyncio.StreamReader) -> None:
    """Wait until the panel has closed a connection. It says nothing on it."""
    with contextlib.suppress(ConnectionError):
        assert await reader.read() == b""
