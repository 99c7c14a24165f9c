"""A disk service for vhost-user front ends, in the process of the test."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from virtmesh_native import unclosed

from tests.support.vhost_user.disk import VhostDisk
from tests.support.vhost_user.front_end import VhostFrontEnd
from virtmesh.blk.image import create_image
from virtmesh.blk.kind import KIND
from virtmesh.blk.model import BlkModel, BlkOptions
from virtmesh.host.host import Addresses, Host
from virtmesh.mmio.quirks import Quirk
from virtmesh.virtio.mmio_device import VirtioMmio
from virtmesh_common.api.device.v1 import device_pb2, device_pb2_grpc
from virtmesh_common.blk.spec import SECTOR
from virtmesh_common.channel import open_channel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import grpc.aio

    from tests.support.vhost_user.front_end import FrontEndRing

MIB = 1 << 20
QUEUES = 16
LOOKS = 1000
"""How often it is looked whether all is closed."""

Reasons = Callable[[], str]
"""A function that returns why connections ended, according to the log."""


@dataclass
class Backend:
    """A disk of 1 MiB with 16 queues, and the path of its vhost-user socket."""

    host: Host
    model: BlkModel
    device: VirtioMmio
    folder: Path
    path: Path
    channel: grpc.aio.Channel

    @property
    def address(self) -> str:
        """Address of its gRPC services."""
        return f"unix:{self.folder / 'device.sock'}"

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[VhostFrontEnd]:
        """Connect a front end. At the end, close its connection without another message."""
        front_end = await VhostFrontEnd.connect(self.path)
        try:
            yield front_end
        finally:
            front_end.close()

    @asynccontextmanager
    async def ready(self, without: int = 0) -> AsyncIterator[VhostFrontEnd]:
        """Connect a front end, negotiate all features except `without`, and share its memory."""
        async with self.connected() as front_end:
            await front_end.negotiate(without=without)
            await front_end.share()
            yield front_end

    @asynccontextmanager
    async def driven(
        self, *, size: int = 64, without: int = 0
    ) -> AsyncIterator[tuple[VhostFrontEnd, FrontEndRing]]:
        """Connect a front end with a running ring."""
        async with self.ready(without) as front_end:
            yield front_end, await front_end.start_ring(size=size)

    async def works(self) -> bool:
        """Return whether it serves a new front end: write a sector, and read it back."""
        async with self.driven() as (_, ring):
            disk = VhostDisk(ring)
            data = bytes([0x5A]) * SECTOR
            await disk.write(7, data)
            return await disk.read(7) == data

    async def status(self) -> device_pb2.GetStatusResponse:
        """Return the status, which says who drives the device."""
        return await self._control.GetStatus(device_pb2.GetStatusRequest())

    async def attaches(self) -> int:
        """Return how many drivers have attached."""
        return (await self._control.GetStats(device_pb2.GetStatsRequest())).attaches

    @property
    def _control(self) -> device_pb2_grpc.DeviceServiceAsyncStub:
        """A stub of DeviceService."""
        return device_pb2_grpc.DeviceServiceStub(self.channel)

    async def free(self) -> None:
        """Wait until no driver is attached."""
        attached = True
        while attached:
            attached = (await self.status()).attached


async def open_descriptors(backend: Backend) -> Counter[str]:
    """Count the open descriptors of this process by kind, after a front end has come and gone.

    There may be fewer than before, since the event loops of earlier tests end at any time.
    """
    await backend.works()
    await backend.free()
    return await asyncio.to_thread(list_descriptors)


async def wait_closed(backend: Backend, before: Counter[str]) -> None:
    """Wait until no more descriptors are open than before: threads that read end at any time.

    Errors: AssertionError when some stay open.
    """
    for _ in range(LOOKS):
        left = await open_descriptors(backend) - before
        if not left:
            return
    raise AssertionError(f"{left} stay open")


def list_descriptors() -> Counter[str]:
    """Count the open descriptors of this process by kind, once those of strangers are closed."""
    while unclosed():
        time.sleep(0)
    found: Counter[str] = Counter()
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the descriptor of the folder itself
            found[str(entry.readlink()).partition(":[")[0]] += 1
    return found


@asynccontextmanager
async def serve(
    folder: Path,
    *,
    path: Path | None = None,
    in_band: bool = False,
    quirks: Collection[Quirk] = (),
    make: Callable[[BlkOptions], BlkModel] = lambda options: BlkModel("vda", options),
) -> AsyncIterator[Backend]:
    """Serve a disk in a folder. `make` makes its model."""
    image, path = folder / "disk.img", path or folder / "vhost.sock"
    create_image(image, MIB)
    model = make(BlkOptions(image, queues=QUEUES))
    device = VirtioMmio(model, quirks)
    addresses = Addresses(
        [f"unix:{folder / 'device.sock'}"],
        folder / "handover.sock",
        vhost_user=path,
        in_band=in_band,
    )
    host = Host(device, addresses, KIND)
    try:
        await host.start()
        async with open_channel(addresses.listen[0]) as channel:
            backend = Backend(host, model, device, folder, path, channel)
            await backend.status()  # the channel connects before descriptors are counted
            yield backend
    finally:
        await host.stop()
