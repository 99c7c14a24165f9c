"""However a WebSocket is asked for: it has a seat, and ends with its token and with the panel."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.support.tls_panel import OWN, Served, tls_panel
from virtmesh_client.panel.limits import SOCKETS
from virtmesh_client.testing import FakeKernel
from virtmesh_common.security.roles import Role

SPELLINGS = ("websocket", "WebSocket", "\u00a0websocket", "\u2003websocket\u2003", "websocket\x1f")
"""Values of `Upgrade`: a server that strips what Unicode calls white space takes them all."""


async def test_a_revoked_token_loses_every_socket(panel: Served) -> None:
    """Whatever its header looks like."""
    token = panel.token(Role.OBSERVER)
    async with AsyncExitStack() as stack:
        asked = [await stack.enter_async_context(panel.asking(token, one)) for one in SPELLINGS]
        opened = [one for one in asked if one.is_open]
        assert opened
        panel.revoke("observer")

        assert all(await asyncio.gather(*(one.ends() for one in opened)))


@pytest.mark.parametrize("upgrade", [SPELLINGS[0], SPELLINGS[2]])
async def test_every_socket_has_a_seat(panel: Served, upgrade: str) -> None:
    """Whatever its header looks like, there are no more than so many."""
    async with AsyncExitStack() as stack:
        asking = [panel.asking(OWN, upgrade) for _ in range(SOCKETS.default + 1)]
        asked = [await stack.enter_async_context(one) for one in asking]

        opened = sum(one.is_open for one in asked)
        assert opened in {0, SOCKETS.default}
        assert panel.panel.seats.taken == opened


async def test_one_token_has_half_of_the_sockets(panel: Served) -> None:
    """The others are for other tokens, and for the one that the panel printed."""
    observer, operator = panel.token(Role.OBSERVER), panel.token(Role.OPERATOR)
    async with AsyncExitStack() as stack:
        tokens = [observer] * (SOCKETS.default // 2 + 1) + [operator, OWN]
        asking = [panel.asking(token, SPELLINGS[0]) for token in tokens]
        asked = [await stack.enter_async_context(one) for one in asking]

        *mine, one_more, other, own = [one.is_open for one in asked]
        assert all(mine)
        assert (one_more, other, own) == (False, True, True)


async def test_a_panel_that_stops_ends_every_socket(tmp_path: Path) -> None:
    """At once: it does not wait for browsers."""
    with FakeKernel(vda=1 << 20) as kernel:
        async with (
            tls_panel(tmp_path / "security", kernel.address) as panel,
            AsyncExitStack() as stack,
        ):
            asked = [await stack.enter_async_context(panel.asking(OWN, one)) for one in SPELLINGS]
            await panel.panel.close()
            assert not panel.panel.seats.taken
            assert all(await asyncio.gather(*(one.ends() for one in asked if one.is_open)))
