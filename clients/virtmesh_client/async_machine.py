"""Machines for asyncio: the methods of `Machine`, awaited (see aio/proxy.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh_client.aio.proxy import ClosingProxy, awaited, called_as
from virtmesh_client.blk.aio import AsyncDisk
from virtmesh_client.cpu.aio import AsyncCpu
from virtmesh_client.fault.aio import AsyncFaults
from virtmesh_client.guests.aio import AsyncGuest
from virtmesh_client.input.aio import AsyncInput
from virtmesh_client.machine import Machine, connect
from virtmesh_client.screen.aio import AsyncScreen
from virtmesh_client.serial.aio import AsyncSerial
from virtmesh_common.channel import KEEPALIVE_SECONDS
from virtmesh_common.retry import RETRY_SECONDS

if TYPE_CHECKING:
    from virtmesh_client.security.credentials import Credentials


class AsyncMachine(ClosingProxy[Machine]):
    """A connection to a machine; see `Machine` for the methods. Close it, or use `async with`.

    Example:
        async with await virtmesh_client.aconnect() as machine:
            disk, other = machine.disk("vda"), machine.disk("vdb")
            print(await asyncio.gather(disk.read(0, 512), other.read(0, 512)))
    """

    devices = awaited(Machine.devices)
    nodes = awaited(Machine.nodes)
    warnings = awaited(Machine.warnings)
    interface = awaited(Machine.interface)
    description = awaited(Machine.description)
    report = awaited(Machine.report)
    metrics = awaited(Machine.metrics)
    faults = called_as(AsyncFaults, Machine.faults)
    cpu = called_as(AsyncCpu, Machine.cpu)
    disk = called_as(AsyncDisk, Machine.disk)
    input = called_as(AsyncInput, Machine.input)
    screen = called_as(AsyncScreen, Machine.screen)
    serial = called_as(AsyncSerial, Machine.serial)
    guests = awaited(Machine.guests)
    guest = called_as(AsyncGuest, Machine.guest)
    reset = awaited(Machine.reset)
    restart = awaited(Machine.restart)
    detach = awaited(Machine.detach)
    attach = awaited(Machine.attach)
    close = awaited(Machine.close)

    @property
    def blocking(self) -> Machine:
        """The same connection, with blocking calls: for a thread of your own."""
        return self._blocking

    @property
    def address(self) -> str:
        """The address of the kernel."""
        return self._blocking.address


async def aconnect(  # noqa: PLR0913 - each has a name
    address: str | None = None,
    *,
    timeout: float | None = None,  # noqa: ASYNC109 - for each call
    request_id: str = "",
    proxy: bool = True,
    keepalive: float = KEEPALIVE_SECONDS,
    credentials: Credentials | None = None,
    insecure: bool = False,
    retry_for: float = RETRY_SECONDS,
) -> AsyncMachine:
    """Connect to a machine as `connect` does; use it in an `async with`."""
    return AsyncMachine(
        connect(
            address,
            timeout=timeout,
            request_id=request_id,
            proxy=proxy,
            keepalive=keepalive,
            credentials=credentials,
            insecure=insecure,
            retry_for=retry_for,
        )
    )
