"""The asyncio face of the client: the same methods, awaited.

Each operation runs the blocking face on a thread of its own, so that there is one implementation
(and see transfer.py for why its streams block). Cancelling a task ends its call, and waits until
nothing of it runs any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from virtmesh_client.aio.threads import run, run_in
from virtmesh_client.blk.transfer import ignore
from virtmesh_client.channel import Scope
from virtmesh_client.input.aio import AsyncInput
from virtmesh_client.machine import Machine, connect
from virtmesh_client.serial.aio import AsyncSerial
from virtmesh_client.serial.device import TIMEOUT_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path
    from typing import BinaryIO

    from virtmesh_client.blk.disk import Disk
    from virtmesh_client.blk.transfer import Data, Progress
    from virtmesh_client.input.models import Overflow
    from virtmesh_client.models import CopyResult, DeviceInfo, DeviceStatus, DiskInfo, DiskStats
    from virtmesh_client.serial.models import Position


class AsyncDisk:
    """A disk; see `Disk` for the methods. Progress is reported on the thread that copies."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    @property
    def name(self) -> str:
        """Name of the disk."""
        return self._disk.name

    async def info(self) -> DiskInfo:
        """Describe the disk and its image."""
        return await run(self._disk.info)

    async def read(self, offset: int, length: int) -> bytes:
        """Read a range into memory."""
        return await run(self._disk.read, offset, length)

    async def read_into(self, offset: int, buffer: bytearray | memoryview) -> int:
        """Fill a buffer from `offset` on; returns its size."""
        return await run(self._disk.read_into, offset, buffer)

    async def stream(
        self, offset: int = 0, length: int | None = None, *, progress: Progress = ignore
    ) -> AsyncIterator[bytes]:
        """Read a range in pieces, in order."""
        scope = Scope()
        try:
            parts = await run_in(scope, self._disk.stream, offset, length, progress=progress)
            while (part := await run_in(scope, next, parts, None)) is not None:
                yield part
        finally:
            scope.cancel()

    async def write(
        self, offset: int, data: Data | BinaryIO | Iterable[Data], *, progress: Progress = ignore
    ) -> CopyResult:
        """Write bytes, an iterable of bytes, or the rest of a binary file."""
        return await run(self._disk.write, offset, data, progress=progress)

    async def import_from(
        self,
        source: str | Path | BinaryIO,
        *,
        offset: int = 0,
        flush: bool = True,
        verify: bool = False,
        progress: Progress = ignore,
    ) -> CopyResult:
        """Copy a file to the disk; with `verify` read it back and compare."""
        return await run(
            self._disk.import_from,
            source,
            offset=offset,
            flush=flush,
            verify=verify,
            progress=progress,
        )

    async def export_to(
        self,
        target: str | Path | BinaryIO,
        *,
        offset: int = 0,
        length: int | None = None,
        overwrite: bool = False,
        progress: Progress = ignore,
    ) -> CopyResult:
        """Copy the disk to a file, which gets its name when it is complete."""
        return await run(
            self._disk.export_to,
            target,
            offset=offset,
            length=length,
            overwrite=overwrite,
            progress=progress,
        )

    async def flush(self) -> None:
        """Make every completed write durable."""
        await run(self._disk.flush)

    async def discard(self, offset: int, length: int) -> None:
        """Give a range up."""
        await run(self._disk.discard, offset, length)

    async def write_zeroes(self, offset: int, length: int, *, unmap: bool = False) -> None:
        """Fill a range with zeroes."""
        await run(self._disk.write_zeroes, offset, length, unmap=unmap)

    async def resize(self, capacity: int, *, allow_shrink: bool = False) -> int:
        """Change the capacity while the disk is in use; returns the capacity before."""
        return await run(self._disk.resize, capacity, allow_shrink=allow_shrink)

    async def set_read_only(self, read_only: bool = True) -> None:  # noqa: FBT001, FBT002 - as Disk
        """Refuse writes from now on, or take them again."""
        await run(self._disk.set_read_only, read_only)

    async def stats(self) -> DiskStats:
        """Return the counters of the disk and of its device service."""
        return await run(self._disk.stats)

    async def status(self) -> DeviceStatus:
        """Say who drives the disk, and in which state the device is."""
        return await run(self._disk.status)


class AsyncMachine:
    """A machine; close it, or use it in an `async with`."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    @property
    def address(self) -> str:
        """The address of the kernel."""
        return self._machine.address

    async def devices(self) -> list[DeviceInfo]:
        """List the devices, in ascending order of address."""
        return await run(self._machine.devices)

    def disk(self, name: str) -> AsyncDisk:
        """Return a disk; its first call says whether it exists."""
        return AsyncDisk(self._machine.disk(name))

    def input(
        self, name: str, *, overflow: Overflow = "wait", timeout: float | None = None
    ) -> AsyncInput:
        """Return an input device, with an injector of its own; close it, or use it in a `with`."""
        return AsyncInput(self._machine.input(name, overflow=overflow, timeout=timeout))

    def serial(
        self,
        name: str = "serial",
        *,
        tail: int = 0,
        since: Position | None = None,
        timeout: float | None = TIMEOUT_SECONDS,
    ) -> AsyncSerial:
        """Return a serial port, with a terminal of its own; close it, or use it in a `with`."""
        return AsyncSerial(self._machine.serial(name, tail=tail, since=since, timeout=timeout))

    async def close(self) -> None:
        """Close the connection; calls that run are cancelled."""
        await run(self._machine.close)


async def aconnect(
    address: str | None = None,
    *,
    timeout: float | None = None,  # noqa: ASYNC109 - for each call
    request_id: str = "",
) -> AsyncMachine:
    """Connect to a machine as `connect` does; use it in an `async with`."""
    return AsyncMachine(connect(address, timeout=timeout, request_id=request_id))
