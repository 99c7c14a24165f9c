"""Screens for asyncio: the methods of `Screen`, awaited (see aio/proxy.py)."""

from __future__ import annotations

from virtmesh_client.aio.proxy import Proxy, awaited
from virtmesh_client.screen.screen import Screen


class AsyncScreen(Proxy[Screen]):
    """The screens of a GPU; see `Screen` for the methods.

    Example:
        async with await virtmesh_client.aconnect() as machine:
            Path("screen.png").write_bytes(await machine.screen("gpu0").shot())
    """

    info = awaited(Screen.info)
    shot = awaited(Screen.shot)
    pixels = awaited(Screen.pixels)
    set_mode = awaited(Screen.set_mode)
    disconnect = awaited(Screen.disconnect)
    stats = awaited(Screen.stats)

    @property
    def name(self) -> str:
        """Name of the GPU."""
        return self._blocking.name
