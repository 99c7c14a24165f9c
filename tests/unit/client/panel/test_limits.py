"""What browsers may have of a panel, as its command line says."""

from __future__ import annotations

import aiohttp
import pytest

from virtmesh_client.panel.limits import PanelLimits
from virtmesh_client.panel.options import PanelOptions
from virtmesh_client.panel.server import serving
from virtmesh_client.testing import FakeKernel

TOKEN = "the-token-of-this-panel"  # noqa: S105 - of this test
PROTOCOLS = ("virtmesh", f"token.{TOKEN}")


def test_what_is_not_set_is_as_ever() -> None:
    """Each pair sets one."""
    assert PanelLimits.of(["sockets=3"]) == PanelLimits(connections=256, sockets=3)
    assert PanelLimits.of(["sockets=3", "connections=9"]) == PanelLimits(9, 3)


@pytest.mark.parametrize(
    ("pair", "mend"),
    [
        ("socket=3", "try sockets"),
        ("sockets", "write NAME=VALUE"),
        ("sockets=0", "choose from 1 to"),
        ("sockets=few", "is no whole number"),
    ],
)
def test_what_is_no_limit_is_refused(pair: str, mend: str) -> None:
    """With the mend."""
    with pytest.raises(ValueError, match=mend):
        PanelLimits.of([pair])


async def test_a_panel_keeps_to_its_limits() -> None:
    """Of sockets, and of connections."""
    limits = PanelLimits.of(["sockets=1", "connections=2"])
    options = PanelOptions(port=0, token=TOKEN, limits=limits)
    with FakeKernel(vda=1 << 20) as kernel:
        async with (
            serving(kernel.address, options) as (_, port),
            aiohttp.ClientSession() as session,
        ):
            live = f"http://127.0.0.1:{port}/live"
            async with session.ws_connect(live, protocols=PROTOCOLS):
                with pytest.raises(aiohttp.WSServerHandshakeError, match="503"):
                    await session.ws_connect(live, protocols=PROTOCOLS)
