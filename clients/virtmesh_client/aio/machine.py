"""Machines and disks for asyncio: the methods of `Machine` and `Disk`, awaited (see proxy.py)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from virtmesh_client.aio.proxy import ClosingProxy, Proxy, awaited, called_as
from virtmesh_client.aio.threads import run_in
from virtmesh_client.blk.disk import Disk
from virtmesh_client.blk.transfer import ignore
from virtmesh_client.channel import Scope
from virtmesh_client.input.aio import AsyncInput
from virtmesh_client.machine import Machine, connect
from virtmesh_client.serial.aio import AsyncSerial

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from virtmesh_client.blk.transfer import Progress


class AsyncDisk(Proxy[Disk]):
    """A disk; see `Disk` for the methods. Progress is reported on the thread that copies.

    Example:
        async with await virtmesh_client.aconnect() as machine:
            await machine.disk("vda").write(512, b"hello")
            print(await machine.disk("vda").read(512, 5))
    """

    info = awaited(Disk.info)
    read = awaited(Disk.read)
    read_into = awaited(Disk.read_into)
    write = awaited(Disk.write)
    import_from = awaited(Disk.import_from)
    export_to = awaited(Disk.export_to)
    flush = awaited(Disk.flush)
    discard = awaited(Disk.discard)
    write_zeroes = awaited(Disk.write_zeroes)
    resize = awaited(Disk.resize)
    set_read_only = awaited(Disk.set_read_only)
    stats = awaited(Disk.stats)
    status = awaited(Disk.status)

    @property
    def name(self) -> str:
        """Name of the disk."""
        return self._blocking.name

    async def stream(
        self, offset: int = 0, length: int | None = None, *, progress: Progress = ignore
    ) -> AsyncIterator[bytes]:
        """Read a range in pieces, in order; without a length to the end. Errors: PastEnd."""
        scope = Scope()
        try:
            begin = partial(self._blocking.stream, offset, length, progress=progress)
            parts = await run_in(scope, begin)
            while (part := await run_in(scope, partial(next, parts, None))) is not None:
                yield part
        finally:
            scope.cancel()


class AsyncMachine(ClosingProxy[Machine]):
    """A connection to a machine; see `Machine` for the methods. Close it, or use `async with`.

    Example:
        async with await virtmesh_client.aconnect() as machine:
            disk, other = machine.disk("vda"), machine.disk("vdb")
            print(await asyncio.gather(disk.read(0, 512), other.read(0, 512)))
    """

    devices = awaited(Machine.devices)
    interface = awaited(Machine.interface)
    disk = called_as(AsyncDisk, Machine.disk)
    input = called_as(AsyncInput, Machine.input)
    serial = called_as(AsyncSerial, Machine.serial)
    close = awaited(Machine.close)

    @property
    def address(self) -> str:
        """The address of the kernel."""
        return self._blocking.address


async def aconnect(
    address: str | None = None,
    *,
    timeout: float | None = None,  # noqa: ASYNC109 - for each call
    request_id: str = "",
) -> AsyncMachine:
    """Connect to a machine as `connect` does; use it in an `async with`."""
    return AsyncMachine(connect(address, timeout=timeout, request_id=request_id))
