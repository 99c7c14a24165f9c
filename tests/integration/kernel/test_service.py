"""The kernel service and its devices in one process, over real sockets, memory and rings."""

from __future__ import annotations

import asyncio
import os
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.world import (
    DISK_BYTES,
    World,
    failure_of,
)
from virtmesh_common.api.block.v1 import block_pb2
from virtmesh_common.api.block.v1.block_pb2_grpc import BlockAdminServiceStub
from virtmesh_common.api.device.v1 import device_pb2
from virtmesh_common.api.device.v1.device_pb2_grpc import DeviceServiceStub
from virtmesh_common.api.kernel.v1 import block_device_pb2 as pb
from virtmesh_common.api.kernel.v1 import kernel_pb2
from virtmesh_common.api.kernel.v1.kernel_pb2_grpc import KernelServiceStub
from virtmesh_common.api.register.v1 import register_pb2
from virtmesh_common.api.register.v1.register_pb2_grpc import RegisterServiceStub
from virtmesh_common.blk.errors import BlockReadOnly, PastEnd, Unaligned
from virtmesh_common.errors import (
    BadStream,
    DeviceNotFound,
    DeviceNotReady,
    MessageTooLarge,
    NotOffered,
    ServiceUnavailable,
    VirtmeshError,
)

SIZE = DISK_BYTES
VDA = (("virtmesh-device", "vda"),)


async def test_devices_are_listed_with_their_state(world: World) -> None:
    """One that is used says by whom and how; one that is not there says why."""
    async with world.serve_disk():
        await world.ready("vda")
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
    async with world.serve_disk(serial="S1", queues=3, block_size=4096):
        await world.ready("vda")
        info = await world.disks.Identify(pb.IdentifyRequest(device="vda"))

        assert (info.capacity_bytes, info.block_size_bytes) == (SIZE, 4096)
        assert (info.serial, info.read_only, info.write_back) == ("S1", False, True)
        assert (info.queues, info.request_size_max_bytes) == (3, 128 << 10)


async def test_streams_carry_any_range(world: World) -> None:
    """A write of odd pieces at an odd offset is read back, and reported without gaps."""
    pieces = [os.urandom(size) for size in (1, 513, 1 << 20, 0, 77_777, 1 << 20, 3)]
    data = b"".join(pieces)

    async with world.serve_disk():
        await world.ready("vda")
        progress = await world.write(12_345, pieces)
        await world.disks.Flush(pb.FlushRequest(device="vda"))

        assert progress == [sum(map(len, pieces[: count + 1])) for count in range(len(pieces))]
        assert await world.read(12_345, len(data)) == data
        assert len(await world.read(1, 0)) == SIZE - 1


async def test_an_empty_write_is_answered(world: World) -> None:
    """A header and nothing else is a write of nothing."""
    async with world.serve_disk():
        await world.ready("vda")

        assert await world.write(0, []) == [0]


async def test_ranges_are_discarded_and_zeroed(world: World) -> None:
    """Both read as zeroes afterwards."""
    async with world.serve_disk():
        await world.ready("vda")
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
    async with world.serve_disk():
        await world.ready("vda")

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
    async with world.serve_disk():
        await world.ready("vda")

        async def write() -> None:
            async for _ in world.disks.Write(iter(messages)):
                pass

        assert isinstance(await failure_of(write()), BadStream)


async def test_a_read_only_disk_refuses_writes(world: World) -> None:
    """The error says that nothing was written."""
    async with world.serve_disk(read_only=True):
        await world.ready("vda")

        failure = await failure_of(world.write(0, [b"x"]))

        assert isinstance(failure, BlockReadOnly)
        assert failure.metadata["written_bytes"] == "0"


async def test_a_failed_write_says_how_far_it_came(world: World) -> None:
    """What was written without gaps is in the error, and is on the disk."""
    pieces = [b"1" * (1 << 20)] * 3

    async with world.serve_disk():
        await world.ready("vda")
        failure = await failure_of(world.write(SIZE - (2 << 20), pieces))

        assert isinstance(failure, PastEnd)
        assert failure.metadata["written_bytes"] == str(2 << 20)
        assert await world.read(SIZE - (2 << 20), 0) == b"1" * (2 << 20)


async def test_people_reach_a_device_through_the_kernel(world: World) -> None:
    """Administration and read-only control are forwarded; a resize is seen by the driver."""
    async with world.serve_disk():
        await world.ready("vda")
        admin: Any = BlockAdminServiceStub(world.channel)
        control: Any = DeviceServiceStub(world.channel)

        status = await control.GetStatus(device_pb2.GetStatusRequest(), metadata=VDA)
        resized = await admin.Resize(block_pb2.ResizeRequest(capacity_bytes=2 * SIZE), metadata=VDA)

        assert (status.attached, status.driver_name) == (True, "test virtmesh-kernel")
        assert (resized.previous_capacity_bytes, resized.capacity_bytes) == (SIZE, 2 * SIZE)


async def test_metrics_tell_of_devices_and_interrupts(world: World) -> None:
    """The page has the state of each device, its requests, and the lines."""
    async with world.serve_disk():
        await world.ready("vda")
        await world.read(0, 4096)
        address = f"http://{world.server.metrics_address}/metrics"
        page = await asyncio.to_thread(lambda: urllib.request.urlopen(address).read().decode())

        assert 'virtmesh_kernel_device_state{device="vda",machine="test",state="ready"} 1.0' in page
        assert 'virtmesh_kernel_requests_total{device="vda",machine="test"}' in page
        assert 'virtmesh_kernel_interrupts_total{irq="1",machine="test"}' in page
