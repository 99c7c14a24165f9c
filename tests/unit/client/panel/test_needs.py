"""Each path and topic of the panel, with each role: what the table of roles lets it have."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest

from tests.support.tls_panel import OWN, Served
from virtmesh_client.panel.keys import OPENS
from virtmesh_client.panel.needs import PUBLIC, ROUTES, TOPICS
from virtmesh_common.security.roles import TABLE, Role

TOPIC_NAMES = {"dialogue": "dialogue:vda", "inputs": "inputs", "registers": "registers:vda"}


def paths_of(panel: Served) -> set[tuple[str, str]]:
    """Return every method and path that the web server answers."""
    return {
        (route.method, route.resource.canonical)
        for route in panel.panel.app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }


def has_all(role: Role, rpcs: tuple[str, ...]) -> bool:
    """Say whether the table has a row of each RPC, with the role in it."""
    return all(role in TABLE[rpc].roles for rpc in rpcs)


async def test_every_path_says_what_it_needs(panel: Served) -> None:
    """Also one that is added: it has to be in the list. RPCs in the list have rows in the table."""
    assert paths_of(panel) == set(ROUTES) | {("GET", path) for path in PUBLIC}
    assert not PUBLIC & {path for _, path in ROUTES}
    assert {rpc for rpcs in (*ROUTES.values(), *TOPICS.values()) for rpc in rpcs} <= set(TABLE)


@pytest.mark.parametrize("role", Role)
async def test_every_path_asks_the_table(panel: Served, role: Role) -> None:
    """For each role: who may not call what is behind a path is refused there."""
    token = panel.token(role)
    for method, path in sorted(paths_of(panel)):
        status = await panel.status(token, path.replace("{name}", "vda"), method)
        nobody = await panel.status("nobody", path.replace("{name}", "vda"), method)
        if path in PUBLIC:
            assert status in {200, 404}, path
            assert nobody == status
            continue
        assert nobody == 401, path
        if role not in OPENS:
            assert status == 401, path
        else:
            assert (status == 403) is not has_all(role, ROUTES[method, path]), path


@pytest.mark.parametrize("path", ["/static/..%2fapi/about", "/%2e/api/about", "//api/about"])
async def test_no_spelling_of_a_path_needs_less(panel: Served, path: str) -> None:
    """What is not a file of the page is not answered as one."""
    assert await panel.status("nobody", path) in {401, 404}


async def answer_to(panel: Served, role: Role, *topics: str) -> dict[str, Any]:
    """Return what a page of a role is told of the topics that it wants."""
    async with panel.socket(panel.token(role)) as socket:
        await socket.send_str(json.dumps({"wants": topics}))
        while True:
            message = await socket.receive(timeout=20)
            assert message.type is aiohttp.WSMsgType.TEXT
            content: dict[str, Any] = json.loads(message.data)
            if content["topic"] == "wants":
                return content["state"]  # type: ignore[no-any-return]


@pytest.mark.parametrize("role", sorted(OPENS))
async def test_every_topic_asks_the_table(panel: Served, role: Role) -> None:
    """For each role. All topics together are answered as each of them is."""
    shown = {name for kind, name in TOPIC_NAMES.items() if has_all(role, TOPICS[kind])}
    told = await answer_to(panel, role, *TOPIC_NAMES.values())

    assert TOPIC_NAMES.keys() == TOPICS.keys()
    assert set(told["shown"]) == shown
    assert set(told["refused"]) == set(TOPIC_NAMES.values()) - shown


async def test_an_observer_does_not_see_what_others_type(panel: Served) -> None:
    """It may be a password; nor what comes and goes by the serial port. The table says so."""
    told = await answer_to(panel, Role.OBSERVER, "inputs", "dialogue:")
    assert told == {"shown": ["dialogue:"], "refused": ["inputs"]}
    assert await panel.status(panel.token(Role.OBSERVER), "/serial/uart0") == 403


async def test_a_page_is_told_its_role(panel: Served) -> None:
    """And what it may, so that it shows nothing that will be refused."""
    for token, role, may in (
        (panel.token(Role.OBSERVER), "observer", {"screen"}),
        (panel.token(Role.INJECTOR), "injector", {"screen", "serial", "inputs", "use", "type"}),
        (
            OWN,
            "owner",
            {"screen", "serial", "inputs", "use", "type", "reset", "restart", "detach", "attach"},
        ),
    ):
        async with panel.socket(token) as socket:
            while (message := json.loads((await socket.receive(timeout=20)).data)) is not None:
                if message["topic"] == "role":
                    break
        assert message["state"]["role"] == role
        assert {part for part, has in message["state"]["may"].items() if has} == may
