"""Guests for asyncio: the methods of `Guest`, awaited (see aio/proxy.py)."""

from __future__ import annotations

from virtmesh_client.aio.proxy import Proxy, awaited
from virtmesh_client.guests.control import Guest


class AsyncGuest(Proxy[Guest]):
    """The guest on a serial port; see `Guest` for the methods."""

    info = awaited(Guest.info)
    reset = awaited(Guest.reset, waits=True)
    stop = awaited(Guest.stop, waits=True)
