"""BlockAdminService: what the owner of a disk does, and what its driver sees of it."""

from __future__ import annotations

import asyncio
import os
import resource
import threading
from typing import TYPE_CHECKING

import grpc.aio
import pytest

from tests.contract.conftest import serving
from tests.support.storage_gate import gated
from virtmesh.blk import service
from virtmesh.blk.kind import KIND
from virtmesh.blk.model import BlkModel, BlkOptions
from virtmesh.testing.scripted_driver import BlkRequest, signalled
from virtmesh.virtio.mmio_device import VirtioMmio
from virtmesh_common.api.block.v1 import block_pb2, block_pb2_grpc
from virtmesh_common.blk import spec as blk
from virtmesh_common.blk.errors import BadSize, StorageStuck, WouldShrink
from virtmesh_common.blk.spec import BlkFeature, RequestStatus
from virtmesh_common.errors import VirtmeshError, from_rpc_error
from virtmesh_common.virtio import mmio
from virtmesh_common.virtio.features import Feature

if TYPE_CHECKING:
    from pathlib import Path

    from tests.contract.conftest import Served

PLAIN = Feature.VIRTIO_F_VERSION_1
MIB = 1 << 20
PATIENCE_SECONDS = 60.0
"""Longer than anything takes here that is not kept waiting, on a loaded host too."""
LARGE = 128 << 10
"""More than a queue executes at once, on its own thread."""


def admin(served: Served) -> block_pb2_grpc.BlockAdminServiceAsyncStub:
    """Make a stub."""
    stub: block_pb2_grpc.BlockAdminServiceAsyncStub = block_pb2_grpc.BlockAdminServiceStub(
        served.channel
    )
    return stub


async def test_a_resize_reaches_the_driver(served: Served, image: Path) -> None:
    """The capacity grows, ConfigGeneration moves, the driver is interrupted."""
    async with served.attached() as driver:
        await driver.bring_up(PLAIN)
        before = await driver.get(mmio.CONFIG_GENERATION)
        answer = await admin(served).Resize(block_pb2.ResizeRequest(capacity_bytes=2 * MIB))
        assert (answer.previous_capacity_bytes, answer.capacity_bytes) == (MIB, 2 * MIB)
        config_call = driver.doorbells.config_call
        assert config_call is not None
        await signalled(config_call)
        assert await driver.get(mmio.INTERRUPT_STATUS) == mmio.INTERRUPT_CONFIG_CHANGE
        assert await driver.get(mmio.CONFIG_GENERATION) != before
        assert await driver.get(blk.CAPACITY) == 2 * MIB // 512
        assert (await driver.request(BlkRequest.read(2 * MIB // 512 - 1, 512)))[0] == 0
    info = await admin(served).GetInfo(block_pb2.GetInfoRequest())
    assert (info.capacity_bytes, info.image_path) == (2 * MIB, str(image))


async def test_a_resize_whose_caller_gives_up_reaches_the_driver(
    served: Served, device: VirtioMmio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resize that has begun can't be taken back, so the driver must learn of it."""
    begun, go_on = asyncio.Event(), threading.Event()
    loop, resize = asyncio.get_running_loop(), BlkModel.resize

    def held(model: BlkModel, capacity: int, *, allow_shrink: bool) -> int:
        loop.call_soon_threadsafe(begun.set)
        go_on.wait(10)
        return resize(model, capacity, allow_shrink=allow_shrink)

    monkeypatch.setattr(BlkModel, "resize", held)
    async with served.attached() as driver:
        await driver.bring_up(PLAIN)
        call = admin(served).Resize(block_pb2.ResizeRequest(capacity_bytes=2 * MIB))
        await begun.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        go_on.set()
        config_call = driver.doorbells.config_call
        assert config_call is not None
        async with asyncio.timeout(10):
            await signalled(config_call)
        assert await driver.get(blk.CAPACITY) == 2 * MIB // 512
    assert device.interrupt.sequence == 1


async def test_a_resize_says_which_request_the_storage_does_not_answer(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is begun, and goes on when the storage answers."""
    monkeypatch.setattr(service, "STUCK_SECONDS", 0.2)
    go_on, resize = threading.Event(), BlkModel.resize

    def held(model: BlkModel, capacity: int, *, allow_shrink: bool) -> int:
        go_on.wait(PATIENCE_SECONDS)
        return resize(model, capacity, allow_shrink=allow_shrink)

    monkeypatch.setattr(BlkModel, "resize", held)
    options = BlkOptions(image, queues=2)
    disk, gate = gated(lambda: VirtioMmio(BlkModel("vda", options)), "preadv2")
    request = block_pb2.ResizeRequest(capacity_bytes=2 * MIB)
    async with serving(disk, KIND, folder=tmp_path) as served, served.attached() as driver:
        await driver.bring_up(PLAIN)
        driver.add(BlkRequest.read(8, LARGE))
        await driver.ring(0, by="eventfd")
        reading = await asyncio.to_thread(gate.next)

        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await admin(served).Resize(request)
        error = from_rpc_error(caught.value)
        assert isinstance(error, StorageStuck)
        assert "IN at sector 8, begun " in error.message

        monkeypatch.setattr(service, "STUCK_SECONDS", PATIENCE_SECONDS)
        reading.let_go()
        gate.open()
        go_on.set()
        answer = await admin(served).Resize(request)
        assert answer.previous_capacity_bytes == 2 * MIB
    disk.close()


async def test_a_device_in_reset_is_not_interrupted(served: Served) -> None:
    """No notification goes to a device that no driver has initialised (2.4.1)."""
    await admin(served).Resize(block_pb2.ResizeRequest(capacity_bytes=2 * MIB))
    assert served.host.device.interrupt.sequence == 0
    info = await admin(served).GetInfo(block_pb2.GetInfoRequest())
    assert (info.capacity_bytes, info.config_generation) == (2 * MIB, 1)


@pytest.mark.parametrize(
    ("size", "error"), [(0, BadSize), (1000, BadSize), (MIB // 2, WouldShrink)]
)
async def test_bad_sizes_are_refused(served: Served, size: int, error: type[VirtmeshError]) -> None:
    """A size is a multiple of the block size, and cuts nothing off unasked."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await admin(served).Resize(block_pb2.ResizeRequest(capacity_bytes=size))
    assert isinstance(from_rpc_error(caught.value), error)


async def test_a_size_that_the_file_system_can_not_have_is_a_bad_size(served: Served) -> None:
    """It is the caller's mistake, and no fault of the storage."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8 * MIB, before[1]))
    try:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await admin(served).Resize(block_pb2.ResizeRequest(capacity_bytes=64 * MIB))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    error = from_rpc_error(caught.value)
    assert isinstance(error, BadSize)
    assert error.metadata["size_bytes"] == str(64 * MIB)
    info = await admin(served).GetInfo(block_pb2.GetInfoRequest())
    assert info.capacity_bytes == MIB


async def test_shrinking_on_purpose(served: Served) -> None:
    """What is cut off is gone: reading it fails."""
    async with served.attached() as driver:
        await driver.bring_up(PLAIN)
        await admin(served).Resize(
            block_pb2.ResizeRequest(capacity_bytes=MIB // 2, allow_shrink=True)
        )
        status, _ = await driver.request(BlkRequest.read(MIB // 512 - 1, 512))
        assert status == RequestStatus.VIRTIO_BLK_S_IOERR


async def test_an_image_that_was_cut_off_shows_in_the_metrics(
    served: Served, device: VirtioMmio, image: Path
) -> None:
    """The driver gets I/O errors; who runs the disk sees why."""
    async with served.attached() as driver:
        await driver.bring_up(PLAIN)
        os.truncate(image, MIB // 2)
        status, _ = await driver.request(BlkRequest.write(MIB // 512 - 1, bytes(512)))
        assert status == RequestStatus.VIRTIO_BLK_S_IOERR
    metrics = KIND.collect(device.model)
    samples = {sample.name: sample.value for one in metrics for sample in one.samples}
    assert samples["virtmesh_blk_truncated_total"] == 1


async def test_failures_are_listed_with_their_causes(served: Served, image: Path) -> None:
    """What the status byte can't say; by the address of that byte a driver finds its own."""
    async with served.attached() as driver:
        await driver.bring_up(PLAIN)
        os.truncate(image, MIB // 2)
        await driver.request(BlkRequest.write(MIB // 512 - 1, bytes(512)))
        await driver.request(BlkRequest.read(MIB, 512))
        await driver.request(BlkRequest.read(0, 512))
    answer = await admin(served).ListFailures(block_pb2.ListFailuresRequest())
    told = [(one.number, one.type, one.sector, one.cause) for one in answer.failures]
    assert told == [(1, "OUT", MIB // 512 - 1, "TRUNCATED"), (2, "IN", 0, "REFUSED")]
    assert "someone cut it off" in answer.failures[0].text
    address = answer.failures[1].status_address
    only = await admin(served).ListFailures(block_pb2.ListFailuresRequest(status_address=address))
    assert only.failures[-1].number == 2
    nothing = await admin(served).ListFailures(block_pb2.ListFailuresRequest(status_address=0))
    assert not nothing.failures


async def test_read_only_from_the_next_request_on(served: Served) -> None:
    """Writes fail at once; VIRTIO_BLK_F_RO is offered to the next initialisation (5.2.6.2)."""
    async with served.attached() as driver:
        await driver.bring_up(PLAIN)
        await admin(served).SetReadOnly(block_pb2.SetReadOnlyRequest(read_only=True))
        status, _ = await driver.request(BlkRequest.write(0, bytes(512)))
        assert status == RequestStatus.VIRTIO_BLK_S_IOERR
        assert not await driver.offered() & BlkFeature.VIRTIO_BLK_F_RO
        await driver.reset()
        assert await driver.offered() & BlkFeature.VIRTIO_BLK_F_RO
        await admin(served).SetReadOnly(block_pb2.SetReadOnlyRequest(read_only=False))
        await driver.bring_up(PLAIN)
        assert (await driver.request(BlkRequest.write(0, bytes(512))))[0] == 0


async def test_flush_and_stats(served: Served) -> None:
    """The counters name each type of request."""
    async with served.attached() as driver:
        await driver.bring_up(PLAIN)
        await driver.request(BlkRequest.write(0, bytes(1024)))
        await driver.request(BlkRequest.read(0, 512))
    await admin(served).Flush(block_pb2.FlushRequest())
    stats = await admin(served).GetStats(block_pb2.GetStatsRequest())
    found = {entry.type: (entry.ok, entry.bytes) for entry in stats.requests}
    assert (found["IN"], found["OUT"]) == ((1, 512), (1, 1024))
    assert [entry.type for entry in stats.requests] == sorted(found)
