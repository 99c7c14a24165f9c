"""Disks for asyncio: the methods of `Disk`, awaited (see aio/proxy.py)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from virtmesh_client.aio.proxy import Proxy, awaited
from virtmesh_client.aio.threads import run_in
from virtmesh_client.blk.disk import Disk
from virtmesh_client.channel import Scope
from virtmesh_client.streams import ignore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from virtmesh_client.streams import Progress


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
    resume = awaited(Disk.resume)
    mark = awaited(Disk.mark)
    stats = awaited(Disk.stats)
    status = awaited(Disk.status)

    @property
    def name(self) -> str:
        """Name of the disk."""
        return self._blocking.name

    async def stream(
        self,
        offset: int = 0,
        length: int | None = None,
        *,
        progress: Progress = ignore,
        retry_for: float | None = None,
    ) -> AsyncIterator[bytes]:
        """Read a range in pieces, in order; without a length to the end. Errors: PastEnd."""
        scope = Scope()
        try:
            begin = partial(
                self._blocking.stream, offset, length, progress=progress, retry_for=retry_for
            )
            parts = await run_in(scope, begin)
            while (part := await run_in(scope, partial(next, parts, None))) is not None:
                yield part
        finally:
            scope.cancel()
