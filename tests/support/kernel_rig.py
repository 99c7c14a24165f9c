"""A kernel that is served in this process, and disks that come and go beside it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from virtmesh.attach.grpc_bus import GrpcBus
from virtmesh.attach.guest_ram import Ram
from virtmesh.blk.kind import KIND
from virtmesh.blk.model import BlkModel, BlkOptions
from virtmesh.drivers.settings import Settings
from virtmesh.host.host import Addresses, Host
from virtmesh.kernel.device import ProbeState
from virtmesh.kernel.devicetree import make_blob
from virtmesh.kernel.main import KernelServer, Plan
from virtmesh.machine import DeviceEntry, DoorbellKind, Machine
from virtmesh.virtio.mmio_device import VirtioMmio
from virtmesh_common.api.kernel.v1 import block_device_pb2 as pb
from virtmesh_common.api.kernel.v1.block_device_pb2_grpc import BlockDeviceServiceStub
from virtmesh_common.channel import open_channel
from virtmesh_common.errors import (
    VirtmeshError,
    from_rpc_error,
)

SIZE = 16 << 20
"""Size of a disk, in bytes."""


@dataclass
class World:
    """A kernel that is served, the device services beside it, and a client's channel."""

    server: KernelServer
    channel: grpc.aio.Channel
    folder: Path

    @property
    def disks(self) -> Any:
        """A stub of BlockDeviceService."""
        return BlockDeviceServiceStub(self.channel)

    def device(self, name: str = "vda", **options: Any) -> AbstractAsyncContextManager[BlkModel]:
        """Serve a disk for a while."""
        return serving_disk(self.folder, name, **options)

    async def ready(self, name: str = "vda") -> None:
        """Wait until the kernel uses a device."""
        await self.server.kernel.device(name).until(ProbeState.READY)

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


def make_image(path: Path) -> Path:
    """Make a sparse image, if there is none."""
    if not path.exists():
        path.touch()
        os.truncate(path, SIZE)
    return path


async def failure_of(work: Any) -> VirtmeshError:
    """Await what must fail, and return the error that the service meant."""
    with pytest.raises(grpc.RpcError) as caught:
        await work
    return from_rpc_error(caught.value)


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[World]:
    """Serve a kernel of two disks, whose services are in a folder when they are there."""
    machine = Machine(
        name="test",
        devices=tuple(
            DeviceEntry(name=name, kind="blk", endpoint=f"unix:{folder}/{name}.sock", slot=slot)
            for slot, name in enumerate(("vda", "vdb"))
        ),
    )
    address = f"unix:{folder}/kernel.sock"
    server = KernelServer(Plan(make_blob(machine), Settings(), [address], "127.0.0.1:0"))
    await server.start()
    async with open_channel(address) as channel:
        yield World(server, channel, folder)
    await server.stop()


@asynccontextmanager
async def serving_disk(folder: Path, name: str, **options: Any) -> AsyncIterator[BlkModel]:
    """Serve a disk for a while, on an image that is made when it is missing."""
    model = BlkModel(name, BlkOptions(make_image(folder / f"{name}.img"), **options))
    addresses = Addresses([f"unix:{folder}/{name}.sock"], folder / f"{name}.handover")
    host = Host(VirtioMmio(model), addresses, KIND)
    await host.start()
    try:
        yield model
    finally:
        await host.stop()


async def attach(folder: Path, ram: Ram, driver_name: str) -> GrpcBus:
    """Attach to the disk vda beside the kernel."""
    return await GrpcBus.connect(
        f"unix:{folder}/vda.sock", ram=ram, driver_name=driver_name, doorbell=DoorbellKind.RPC
    )
