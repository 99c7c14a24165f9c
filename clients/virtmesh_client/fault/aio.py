"""Faults on demand for asyncio: the methods of `Faults`, awaited (see aio/proxy.py)."""

from __future__ import annotations

from virtmesh_client.aio.proxy import Proxy, awaited
from virtmesh_client.fault.faults import Faults


class AsyncFaults(Proxy[Faults]):
    """The faults of a device; see `Faults` for the methods.

    Example:
        async with await virtmesh_client.aconnect() as machine:
            await machine.faults("vda").add("io-error type=read limit=1")
    """

    add = awaited(Faults.add)
    list = awaited(Faults.list)
    clear = awaited(Faults.clear)

    @property
    def device(self) -> str:
        """The device."""
        return self._blocking.device
