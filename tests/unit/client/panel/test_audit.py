"""The audit of the panel: who did what, whatever the machine takes the panel for."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest
from yarl import URL

from tests.support.tls_panel import LIMIT_SECONDS, OWN, Served
from virtmesh_client.panel import audit
from virtmesh_client.panel.audit import LINES_MAX, STRANGERS_MAX
from virtmesh_common.security.authority import Authority
from virtmesh_common.security.roles import Role

RESET = "/api/devices/{name}/reset"


def lines_of(panel: Served, *keys: str) -> list[list[Any]]:
    """Return these facts of each line."""
    return [[json.loads(line).get(key) for key in keys] for line in panel.audit]


async def test_what_changes_something_has_a_name(panel: Served) -> None:
    """That of the token, its number, where it came from, and how it ended; also when refused."""
    alice, looker = panel.token(Role.OPERATOR), panel.token(Role.OBSERVER)
    for token in (alice, looker, OWN):
        await panel.status(token, RESET.replace("{name}", "vda"), "POST")

    assert lines_of(panel, "identity", "role", "serial", "request", "device", "outcome") == [
        ["operator", "operator", alice.split("_")[1], f"POST {RESET}", "vda", "501"],
        ["observer", "observer", looker.split("_")[1], f"POST {RESET}", "vda", "403"],
        ["panel", "owner", None, f"POST {RESET}", "vda", "501"],
    ]
    assert {peer for (peer,) in lines_of(panel, "peer")} == {"127.0.0.1"}
    assert not any(token in line for line in panel.audit for token in (alice, looker, OWN))


async def test_to_look_is_no_line(panel: Served) -> None:
    """Unless it is refused."""
    for path in ("/", "/api/about", "/api/devices/vda/registers", "/nothing"):
        await panel.status(panel.token(Role.OBSERVER), path)

    assert panel.audit == []


async def test_a_socket_has_a_line_at_each_end(panel: Served) -> None:
    """The serial port and the screen are used by them."""
    token = panel.token(Role.INJECTOR)
    for lines, path in ((2, "/serial/uart0"), (4, "/vnc/gpu")):
        async with panel.socket(token, path):
            pass
        async with asyncio.timeout(LIMIT_SECONDS):
            while len(panel.audit) < lines:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0)

    assert lines_of(panel, "identity", "request", "device", "outcome") == [
        ["injector", "GET /serial/{name}", "uart0", "BEGUN"],
        ["injector", "GET /serial/{name}", "uart0", "ENDED"],
        ["injector", "GET /vnc/{name}", "gpu", "BEGUN"],
        ["injector", "GET /vnc/{name}", "gpu", "ENDED"],
    ]


async def test_who_counts_no_more_is_named(panel: Served) -> None:
    """Without a role; whoever says anything else is nobody."""
    token = panel.token(Role.OWNER)
    panel.revoke("owner")
    for other in (token, token[:-4] + "AAAA", "owner"):
        assert await panel.status(other, "/api/about") == 401

    assert lines_of(panel, "identity", "role", "serial", "reason", "outcome") == [
        ["owner", "none", token.split("_")[1], "revoked", "401"],
        ["none", "none", None, "token", "401"],
    ]


async def test_nobody_fills_the_log(panel: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """With paths, names, methods or hosts of their own; the rest is counted at the end."""
    monkeypatch.setattr(audit, "PERIOD_SECONDS", 3600.0)  # all of it is one period
    operator = panel.token(Role.OPERATOR)
    async with panel.session() as session:
        for number in range(LINES_MAX + 10):
            url = URL(f"https://127.0.0.1:{panel.port}/api/devices/d{number}/reset")
            for token in (operator, "nobody"):
                bearer = {"Authorization": f"Bearer {token}"}
                async with session.post(url, headers=bearer) as answer:
                    await answer.read()
            try:
                async with session.request("GET", url.with_path(f"/made/up{number}")) as answer:
                    await answer.read()
            except aiohttp.ClientError:
                continue
    who = [name for (name,) in lines_of(panel, "identity")]

    assert who.count("operator") == LINES_MAX
    assert who.count("none") == STRANGERS_MAX
    assert not any("made" in line for line in panel.audit)
    await panel.panel.close()
    assert len(panel.audit) <= LINES_MAX + STRANGERS_MAX + 3


async def test_a_certificate_that_is_renewed_is_shown(panel: Served) -> None:
    """With its new names, without a restart."""
    name = "other.example"
    assert await panel.status(OWN, "/api/about", host=name) == 403
    Authority.ensure(panel.folder, [name]).close()

    assert await panel.status(OWN, "/api/about", host=name) == 200


async def test_the_name_in_the_address_is_one_that_is_taken(panel: Served) -> None:
    """Where it listens at any address, the name is one of its certificate."""
    found = panel.panel.name("0.0.0.0")  # noqa: S104 - that is what is asked
    assert found == "panel.example"
    assert await panel.status(OWN, "/api/about", host=f"{found}:{panel.port}") == 200
    assert panel.panel.name("127.0.0.1") == "127.0.0.1"
