"""The kernel service and its devices in one process, over real sockets, memory and rings."""

from __future__ import annotations

import asyncio
import gc
import os
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterable
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
from virtmesh.kernel.devicetree import make_blob
from virtmesh.kernel.main import KernelServer, Plan
from virtmesh.kernel.probe import ProbeState
from virtmesh.machine import DeviceEntry, DoorbellKind, Machine
from virtmesh.testing.scripted_disk import ScriptedDisk
from virtmesh.virtio.mmio_device import VirtioMmio
from virtmesh_common.api.block.v1 import block_pb2
from virtmesh_common.api.block.v1.block_pb2_grpc import BlockAdminServiceStub
from virtmesh_common.api.device.v1 import device_pb2
from virtmesh_common.api.device.v1.device_pb2_grpc import DeviceServiceStub
from virtmesh_common.api.kernel.v1 import block_device_pb2 as pb
from virtmesh_common.api.kernel.v1 import kernel_pb2
from virtmesh_common.api.kernel.v1.block_device_pb2_grpc import BlockDeviceServiceStub
from virtmesh_common.api.kernel.v1.kernel_pb2_grpc import KernelServiceStub
from virtmesh_common.api.register.v1 import register_pb2
from virtmesh_common.api.register.v1.register_pb2_grpc import RegisterServiceStub
from virtmesh_common.blk.errors import BlockReadOnly, PastEnd, Unaligned
from virtmesh_common.channel import open_channel
from virtmesh_common.errors import (
    BadStream,
    DeviceAttached,
    DeviceLost,
    DeviceNotFound,
    DeviceNotReady,
    MessageTooLarge,
    NotOffered,
    ServiceUnavailable,
    VirtmeshError,
    from_rpc_error,
)

SIZE = 16 << 20
VDA = (("virtmesh-device", "vda"),)


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


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Serve a kernel; none of its devices is there yet."""
    async with serving(tmp_path) as world:
        yield world


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


async def test_devices_are_listed_with_their_state(world: World) -> None:
    """One that is used says by whom and how; one that is not there says why."""
    async with world.device():
        await world.ready()
        stub: Any = KernelServiceStub(world.channel)
        answer = await stub.ListDevices(kernel_pb2.ListDevicesRequest())

        vda, vdb = answer.devices
        assert answer.machine == "test"
        assert (vda.name, vda.mmio_address, vda.irq) == ("vda", 0x1000_1000, 1)
        assert (vda.state, vda.driver) == (kernel_pb2.PROBE_STATE_READY, "VirtIOBlk")
        assert (vda.virtio_device_id, vda.doorbell, vda.detail) == (2, "eventfd", "")
        assert "VIRTIO_BLK_F_FLUSH" in vda.features
        assert "VIRTIO_F_VERSION_1" in vda.features
        assert vda.interrupts > 0
        assert vda.requests > 0
        assert (vdb.state, vdb.driver) == (kernel_pb2.PROBE_STATE_WAITING, "")
        assert vdb.detail


async def test_a_disk_is_identified(world: World) -> None:
    """What the driver knows of the disk."""
    async with world.device(serial="S1", queues=3, block_size=4096):
        await world.ready()
        info = await world.disks.Identify(pb.IdentifyRequest(device="vda"))

        assert (info.capacity_bytes, info.block_size_bytes) == (SIZE, 4096)
        assert (info.serial, info.read_only, info.write_back) == ("S1", False, True)
        assert (info.queues, info.request_size_max_bytes) == (3, 128 << 10)


async def test_streams_carry_any_range(world: World) -> None:
    """A write of odd pieces at an odd offset is read back, and reported without gaps."""
    pieces = [os.urandom(size) for size in (1, 513, 1 << 20, 0, 77_777, 1 << 20, 3)]
    data = b"".join(pieces)

    async with world.device():
        await world.ready()
        progress = await world.write(12_345, pieces)
        await world.disks.Flush(pb.FlushRequest(device="vda"))

        assert progress == [sum(map(len, pieces[: count + 1])) for count in range(len(pieces))]
        assert await world.read(12_345, len(data)) == data
        assert len(await world.read(1, 0)) == SIZE - 1


async def test_an_empty_write_is_answered(world: World) -> None:
    """A header and nothing else is a write of nothing."""
    async with world.device():
        await world.ready()

        assert await world.write(0, []) == [0]


async def test_ranges_are_discarded_and_zeroed(world: World) -> None:
    """Both read as zeroes afterwards."""
    async with world.device():
        await world.ready()
        await world.write(0, [b"x" * 8192])
        await world.disks.WriteZeroes(pb.WriteZeroesRequest(device="vda", length_bytes=4096))
        await world.disks.Discard(
            pb.DiscardRequest(device="vda", offset_bytes=4096, length_bytes=4096)
        )

        assert await world.read(0, 8192) == bytes(8192)


Call = Callable[[World], Any]


@pytest.mark.parametrize(
    ("call", "error", "why"),
    [
        (lambda w: w.read(0, 1, "vdx"), DeviceNotFound, "test has no device 'vdx'"),
        (lambda w: w.read(0, 1, "vdb"), DeviceNotReady, "vdb is not ready"),
        (lambda w: w.read(SIZE - 1, 2), PastEnd, f"vda ends at byte {SIZE}"),
        (lambda w: w.read(SIZE + 1, 0), PastEnd, f"vda ends at byte {SIZE}"),
        (lambda w: w.read(1 << 63, 1 << 63), PastEnd, f"vda ends at byte {SIZE}"),
        (lambda w: w.write(SIZE - 1, [b"xy"]), PastEnd, f"vda ends at byte {SIZE}"),
        (lambda w: w.write(0, [bytes((1 << 20) + 1)]), MessageTooLarge, "send at most 1048576"),
        (lambda w: w.write(0, [bytes(3 << 20)]), MessageTooLarge, ""),
        (
            lambda w: w.disks.Discard(pb.DiscardRequest(device="vda", length_bytes=100)),
            Unaligned,
            "multiples of the block size",
        ),
        (
            lambda w: DeviceServiceStub(w.channel).Reset(device_pb2.ResetRequest(), metadata=VDA),
            NotOffered,
            "is not forwarded",
        ),
        (
            lambda w: RegisterServiceStub(w.channel).Read(register_pb2.ReadRequest(), metadata=VDA),
            NotOffered,
            "is not forwarded",
        ),
        (
            lambda w: DeviceServiceStub(w.channel).GetStatus(
                device_pb2.GetStatusRequest(), metadata=(("virtmesh-device", "vdx"),)
            ),
            DeviceNotFound,
            "no device 'vdx'",
        ),
        (
            lambda w: DeviceServiceStub(w.channel).GetStatus(
                device_pb2.GetStatusRequest(), metadata=(("virtmesh-device", "vdb"),)
            ),
            ServiceUnavailable,
            "vdb.sock",
        ),
        (
            lambda w: BlockAdminServiceStub(w.channel).Resize(
                block_pb2.ResizeRequest(capacity_bytes=1), metadata=VDA
            ),
            VirtmeshError,
            "1 bytes is no size",
        ),
    ],
)
async def test_bad_calls_get_clear_errors(
    world: World, call: Call, error: type[VirtmeshError], why: str
) -> None:
    """The class of the error travels, and its message says what is wrong."""
    async with world.device():
        await world.ready()

        failure = await failure_of(call(world))

        assert isinstance(failure, error)
        assert why in failure.message


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [pb.WriteRequest(data=b"x")],
        [pb.WriteRequest()],
        [pb.WriteRequest(header=pb.WriteHeader(device="vda"))] * 2,
    ],
)
async def test_writes_out_of_order_are_refused(
    world: World, messages: list[pb.WriteRequest]
) -> None:
    """First a header, and only one."""
    async with world.device():
        await world.ready()

        async def write() -> None:
            async for _ in world.disks.Write(iter(messages)):
                pass

        assert isinstance(await failure_of(write()), BadStream)


async def test_a_read_only_disk_refuses_writes(world: World) -> None:
    """The error says that nothing was written."""
    async with world.device(read_only=True):
        await world.ready()

        failure = await failure_of(world.write(0, [b"x"]))

        assert isinstance(failure, BlockReadOnly)
        assert failure.metadata["written_bytes"] == "0"


async def test_a_failed_write_says_how_far_it_came(world: World) -> None:
    """What was written without gaps is in the error, and is on the disk."""
    pieces = [b"1" * (1 << 20)] * 3

    async with world.device():
        await world.ready()
        failure = await failure_of(world.write(SIZE - (2 << 20), pieces))

        assert isinstance(failure, PastEnd)
        assert failure.metadata["written_bytes"] == str(2 << 20)
        assert await world.read(SIZE - (2 << 20), 0) == b"1" * (2 << 20)


async def test_people_reach_a_device_through_the_kernel(world: World) -> None:
    """Administration and read-only control are forwarded; a resize is seen by the driver."""
    async with world.device():
        await world.ready()
        admin: Any = BlockAdminServiceStub(world.channel)
        control: Any = DeviceServiceStub(world.channel)

        status = await control.GetStatus(device_pb2.GetStatusRequest(), metadata=VDA)
        resized = await admin.Resize(block_pb2.ResizeRequest(capacity_bytes=2 * SIZE), metadata=VDA)

        assert (status.attached, status.driver_name) == (True, "test virtmesh-kernel")
        assert (resized.previous_capacity_bytes, resized.capacity_bytes) == (SIZE, 2 * SIZE)


async def test_a_device_that_comes_back_is_used_again(world: World) -> None:
    """Losing the service fails what waits; when it is there again, so is the data."""
    async with world.device():
        await world.ready()
        await world.write(0, [b"kept"])
        await world.disks.Flush(pb.FlushRequest(device="vda"))
    await world.server.kernel.device("vda").until(ProbeState.WAITING)

    assert isinstance(await failure_of(world.read(0, 4)), DeviceNotReady | DeviceLost)

    async with world.device():
        await world.ready()
        assert await world.read(0, 4) == b"kept"
        assert world.server.kernel.device("vda").attaches == 2


async def test_a_device_of_another_driver_is_waited_for(tmp_path: Path) -> None:
    """The state says who has it; when that one leaves, the kernel takes it."""
    with Ram(1 << 20) as ram:
        async with serving_disk(tmp_path, "vda"):
            other = await attach(tmp_path, ram, "other")
            async with serving(tmp_path) as world:
                device = world.server.kernel.device("vda")
                await device.until(ProbeState.WAITING, detail="other")

                await other.close()
                await world.ready()


async def test_other_drivers_hear_who_has_the_device(world: World) -> None:
    """A second driver is refused, and told the holder."""
    with Ram(1 << 20) as ram:
        async with world.device():
            await world.ready()
            with pytest.raises(DeviceAttached, match="test virtmesh-kernel"):
                await attach(world.folder, ram, "other")


async def attach(folder: Path, ram: Ram, driver_name: str) -> GrpcBus:
    """Attach to the disk vda beside the kernel."""
    return await GrpcBus.connect(
        f"unix:{folder}/vda.sock", ram=ram, driver_name=driver_name, doorbell=DoorbellKind.RPC
    )


async def test_a_device_of_the_wrong_name_is_not_used(world: World) -> None:
    """A service that is another device than the tree says is a failure with the mend."""
    image = make_image(world.folder / "other.img")
    host = Host(
        VirtioMmio(BlkModel("other", BlkOptions(image))),
        Addresses([f"unix:{world.folder}/vda.sock"], world.folder / "vda.handover"),
    )
    await host.start()
    device = world.server.kernel.device("vda")
    await device.until(ProbeState.FAILED)

    assert "is other, not vda" in device.detail
    await host.stop()


async def test_metrics_tell_of_devices_and_interrupts(world: World) -> None:
    """The page has the state of each device, its requests, and the lines."""
    async with world.device():
        await world.ready()
        await world.read(0, 4096)
        address = f"http://{world.server.metrics_address}/metrics"
        page = await asyncio.to_thread(lambda: urllib.request.urlopen(address).read().decode())

        assert 'virtmesh_kernel_device_state{device="vda",machine="test",state="ready"} 1.0' in page
        assert 'virtmesh_kernel_requests_total{device="vda",machine="test"}' in page
        assert 'virtmesh_kernel_interrupts_total{irq="1",machine="test"}' in page


SOON_S = 4.0
"""Limit for what must not wait for a time-out: less than the grace of a service that stops."""


@asynccontextmanager
async def serving_model(folder: Path, model: ScriptedDisk) -> AsyncIterator[None]:
    """Serve a disk that does what the test says."""
    host = Host(
        VirtioMmio(model),
        Addresses([f"unix:{folder}/{model.name}.sock"], folder / f"{model.name}.handover"),
    )
    await host.start()
    try:
        yield
    finally:
        await host.stop()


async def test_a_write_under_way_is_finished_when_the_kernel_stops(tmp_path: Path) -> None:
    """Its client is gone already; the device answers while the kernel gives it back."""
    model = ScriptedDisk()
    async with serving_model(tmp_path, model):
        async with serving(tmp_path) as world:
            await world.ready()
            model.hold = True
            disk = world.server.kernel.block_device("vda")
            write = asyncio.create_task(disk.write(0, b"x" * 512))
            (request,) = await model.arrived(1)
            write.cancel()
            await asyncio.gather(write, return_exceptions=True)

            stop = asyncio.create_task(world.server.kernel.stop())
            await asyncio.sleep(0.1)
            assert not stop.done()
            model.answer(request)

            async with asyncio.timeout(SOON_S):
                await stop
        assert model.data[:512] == b"x" * 512


async def test_a_device_that_broke_is_not_called_ready_while_it_is_given_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Giving it back may take its time; clients hear at once why it is of no use."""
    model = ScriptedDisk()
    device = world.server.kernel.device("vda")
    closing, closed = asyncio.Event(), asyncio.Event()
    close = GrpcBus.close

    async def slow(bus: GrpcBus) -> None:
        closing.set()
        await closed.wait()
        await close(bus)

    monkeypatch.setattr(GrpcBus, "close", slow)
    async with serving_model(world.folder, model):
        await world.ready()
        device.ready_driver().fail(DeviceLost("it broke"))
        await closing.wait()

        try:
            with pytest.raises(DeviceNotReady, match="not ready: it broke"):
                device.ready_driver()
            assert device.state is ProbeState.WAITING
        finally:
            closed.set()


def is_mapped(inode: int) -> bool:
    """Say whether this process, in which drivers and devices are, maps a memfd."""
    maps = Path("/proc/self/maps").read_text().splitlines()
    return any(int(line.split()[4]) == inode for line in maps if "/memfd:virtmesh-ram" in line)


async def test_a_lost_device_leaves_no_ram_behind(world: World) -> None:
    """It is unmapped at once: not some day, when Python looks for cycles."""
    gc.disable()
    try:
        async with world.device():
            await world.ready()
            await world.write(0, [b"x" * 4096])
            ram = world.server.kernel.device("vda").ready_driver().bus.ram
            inode = os.fstat(ram.descriptor).st_ino
            assert is_mapped(inode)
        await world.server.kernel.device("vda").until(ProbeState.WAITING)

        async with asyncio.timeout(SOON_S):
            while is_mapped(inode):  # noqa: ASYNC110 - the system tells nobody
                await asyncio.sleep(0.01)
    finally:
        gc.enable()
