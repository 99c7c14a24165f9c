"""One device, reached in two ways: called in this process, and through a real gRPC server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import grpc.aio
import pytest

from virtmesh.attach.client import AttachConnection, AttachmentEventfds
from virtmesh.attach.guest_ram import Ram
from virtmesh.blk.kind import KIND as BLK
from virtmesh.blk.model import BlkModel, BlkOptions
from virtmesh.host.host import Addresses, Host
from virtmesh.kinds import DeviceKind
from virtmesh.mmio.device import Attachment, Device
from virtmesh.testing.scripted_driver import (
    ChannelRegisters,
    GrpcRegisters,
    LocalRegisters,
    ScriptedDriver,
)
from virtmesh.virtio.mmio_device import VirtioMmio
from virtmesh_common.api.device.v1 import device_pb2, device_pb2_grpc
from virtmesh_common.channel import open_channel
from virtmesh_common.errors import from_rpc_error

IMAGE_BYTES = 1 << 20
QUEUES = 2
QUEUE_SIZE_MAX = 16


@dataclass
class Served:
    """A device service in this process, on sockets of its own."""

    host: Host
    address: str
    handover: Path
    channel: grpc.aio.Channel

    @property
    def control(self) -> device_pb2_grpc.DeviceServiceAsyncStub:
        """A stub of DeviceService."""
        return device_pb2_grpc.DeviceServiceStub(self.channel)

    @asynccontextmanager
    async def attached(
        self, name: str = "test", queues: int = QUEUES, *, by_channel: bool = False
    ) -> AsyncIterator[ScriptedDriver]:
        """Attach a driver for a while; at the end it hangs up."""
        with Ram(1 << 20) as ram:
            doorbells = AttachmentEventfds.make(queues)
            line = await AttachConnection.open(str(self.handover), ram, doorbells, timeout_s=10)
            try:
                request = device_pb2.AttachRequest(driver_name=name, ticket=line.ticket)
                try:
                    answer = await self.control.Attach(request)
                except grpc.aio.AioRpcError as failure:
                    raise from_rpc_error(failure) from failure
                registers = GrpcRegisters(self.channel, answer.session_id)
                if not by_channel:
                    yield ScriptedDriver(registers, ram, doorbells)
                    return
                channel = ChannelRegisters(line.socket, registers)
                yield ScriptedDriver(channel, ram, doorbells)
                channel.close()
            finally:
                line.close()
                doorbells.close()


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Make an image in which each sector says which it is."""
    path = tmp_path / "disk.img"
    path.write_bytes(b"".join(i.to_bytes(8, "little") * 64 for i in range(IMAGE_BYTES // 512)))
    return path


@pytest.fixture
def device(image: Path) -> Iterator[VirtioMmio]:
    """Make a disk behind its register window."""
    options = BlkOptions(image, queues=QUEUES, queue_size=QUEUE_SIZE_MAX, seg_max=14)
    device = VirtioMmio(BlkModel("vda", options))
    yield device
    device.close()


@asynccontextmanager
async def serving(
    device: Device, kind: DeviceKind | None = None, *, folder: Path
) -> AsyncIterator[Served]:
    """Serve a device by a real server, on a unix socket in a folder."""
    name = device.description.name
    handover = folder / f"{name}.sock.handover"
    address = f"unix:{folder / name}.sock"
    host = Host(device, Addresses([address], handover), kind)
    await host.start()
    try:
        async with open_channel(address) as channel:
            yield Served(host, address, handover, channel)
    finally:
        await host.stop()


@pytest.fixture
async def served(device: VirtioMmio, tmp_path: Path) -> AsyncIterator[Served]:
    """Serve the disk."""
    async with serving(device, BLK, folder=tmp_path) as served:
        yield served


@pytest.fixture
def serve(tmp_path: Path) -> Callable[..., AbstractAsyncContextManager[Served]]:
    """Return what serves any device for a while."""
    return partial(serving, folder=tmp_path)


@pytest.fixture
async def local_driver(device: VirtioMmio) -> AsyncIterator[ScriptedDriver]:
    """Attach a driver in this process."""
    with Ram(1 << 20) as ram:
        doorbells = AttachmentEventfds.make(QUEUES)
        device.attach(Attachment("test", ram.guest_memory, doorbells.queues, doorbells.config_call))
        yield ScriptedDriver(LocalRegisters(device), ram, doorbells)
        device.begin_reset()
        await device.reset_done()
        device.detach()
        doorbells.close()


@pytest.fixture
async def grpc_driver(served: Served) -> AsyncIterator[ScriptedDriver]:
    """Attach a driver through the server."""
    async with served.attached() as driver:
        yield driver


@pytest.fixture
async def channel_driver(served: Served) -> AsyncIterator[ScriptedDriver]:
    """Attach a driver that accesses registers by the channel."""
    async with served.attached(by_channel=True) as driver:
        yield driver


@pytest.fixture(params=["local", "grpc", "channel"])
def driver(request: pytest.FixtureRequest) -> ScriptedDriver:
    """Attach a driver in each way."""
    driver: ScriptedDriver = request.getfixturevalue(f"{request.param}_driver")
    return driver
