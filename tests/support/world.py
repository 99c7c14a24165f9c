"""A kernel, services of its devices, and a client's channel: in this process, over real sockets."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc.aio
import pytest

from virtmesh.blk.model import BlkModel, BlkOptions
from virtmesh.drivers.settings import Settings
from virtmesh.host.host import Addresses, Host
from virtmesh.kernel.device import ProbeState
from virtmesh.kernel.main import KernelServer, Plan
from virtmesh.kernel.tree import make_blob
from virtmesh.kinds import find_kind
from virtmesh.machine import DeviceEntry, Machine
from virtmesh.virtio.mmio_device import VirtioMmio
from virtmesh_common.api.kernel.v1 import block_device_pb2 as pb
from virtmesh_common.api.kernel.v1.block_device_pb2_grpc import BlockDeviceServiceStub
from virtmesh_common.channel import open_channel
from virtmesh_common.errors import VirtmeshError, from_rpc_error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from virtmesh.kinds.record import DeviceKind
    from virtmesh.mmio.device import Device
    from virtmesh.virtio.device import VirtioDevice

DISK_BYTES = 16 << 20


def device_address(folder: Path, name: str) -> str:
    """Return where the service of a device is, when it is there."""
    return f"unix:{folder}/{name}.sock"


@dataclass
class World:
    """A kernel that is served, and where the services of its devices are, or are not."""

    server: KernelServer
    channel: grpc.aio.Channel
    folder: Path

    @property
    def disks(self) -> Any:
        """A stub of BlockDeviceService."""
        return BlockDeviceServiceStub(self.channel)

    async def ready(self, *names: str) -> None:
        """Wait until the kernel uses devices."""
        for name in names:
            await self.server.kernel.device(name).until(ProbeState.READY)

    def serve(self, device: Device, name: str = "") -> AbstractAsyncContextManager[Host]:
        """Serve a device with all that its kind offers, at the address of `name`."""
        return serving_device(self.folder, device, find_kind(device.description.kind), name)

    def serve_scripted(self, model: VirtioDevice) -> AbstractAsyncContextManager[Host]:
        """Serve a scripted virtio device: it has nothing that its kind's services could ask."""
        return serving_device(self.folder, VirtioMmio(model))

    def serve_disk(self, name: str = "vda", **options: Any) -> AbstractAsyncContextManager[Host]:
        """Serve a disk for a while, on an image that is made when it is missing."""
        return serving_disk(self.folder, name, **options)

    async def write(self, offset: int, data: Iterable[bytes], device: str = "vda") -> list[int]:
        """Write a stream of pieces; return the progress that was reported."""

        async def requests() -> AsyncIterator[pb.WriteRequest]:
            yield pb.WriteRequest(header=pb.WriteHeader(device=device, offset_bytes=offset))
            for piece in data:
                yield pb.WriteRequest(data=piece)

        return [response.written_bytes async for response in self.disks.Write(requests())]

    async def read(self, offset: int, length: int, device: str = "vda") -> bytes:
        """Read a range."""
        request = pb.ReadRequest(device=device, offset_bytes=offset, length_bytes=length)
        return b"".join([response.data async for response in self.disks.Read(request)])


@asynccontextmanager
async def serving(folder: Path, kinds: Mapping[str, str], **plan: Any) -> AsyncIterator[World]:
    """Serve a kernel of devices, given by name with their kind; none of them is there yet."""
    slots = {
        name: slot for slot, name in enumerate(n for n, kind in kinds.items() if kind != "uart")
    }
    entries = tuple(
        DeviceEntry(name, kind, device_address(folder, name), slots.get(name, 0))
        for name, kind in kinds.items()
    )
    address = f"unix:{folder}/kernel.sock"
    blob = make_blob(Machine(name="test", devices=tuple(entries)))
    plan = {"metrics": "127.0.0.1:0"} | plan
    server = KernelServer(Plan(blob, Settings(), [address], **plan))
    await server.start()
    try:
        async with open_channel(address) as channel:
            yield World(server, channel, folder)
    finally:
        await server.stop()


@asynccontextmanager
async def serving_device(
    folder: Path, device: Device, kind: DeviceKind | None = None, name: str = ""
) -> AsyncIterator[Host]:
    """Serve a device for a while, at the address of `name`, with what its kind offers."""
    name = name or device.description.name
    addresses = Addresses([device_address(folder, name)], folder / f"{name}.handover")
    host = Host(device, addresses, kind)
    await host.start()
    try:
        yield host
    finally:
        await host.stop()


def serving_disk(
    folder: Path, name: str = "vda", **options: Any
) -> AbstractAsyncContextManager[Host]:
    """Serve a disk for a while, on an image that is made when it is missing."""
    image = make_image(folder / f"{name}.img")
    model = BlkModel(name, BlkOptions(image, **options))
    return serving_device(folder, VirtioMmio(model), find_kind("blk"))


def make_image(path: Path) -> Path:
    """Make a sparse image of DISK_BYTES, if there is none."""
    if not path.exists():
        path.touch()
        os.truncate(path, DISK_BYTES)
    return path


async def failure_of(work: Awaitable[object]) -> VirtmeshError:
    """Await what must fail, and return the error that the service meant."""
    with pytest.raises(grpc.RpcError) as caught:
        await work
    return from_rpc_error(caught.value)
