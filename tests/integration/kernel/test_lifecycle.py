"""Devices that come, go, break or are another driver's, as the kernel service sees them."""

from __future__ import annotations

import asyncio
import gc
import os
from pathlib import Path

import grpc.aio
import pytest

from tests.support.world import (
    DISK_BYTES,
    World,
    failure_of,
    make_image,
    serving,
    serving_device,
    serving_disk,
)
from virtmesh.attach.grpc_bus import GrpcBus
from virtmesh.attach.guest_ram import Ram
from virtmesh.blk.kernel_service import as_disk
from virtmesh.blk.model import BlkModel, BlkOptions
from virtmesh.kernel.device import ProbeState
from virtmesh.machine import DoorbellKind
from virtmesh.testing.scripted_disk import ScriptedDisk
from virtmesh.virtio.mmio_device import VirtioMmio
from virtmesh_common.api.kernel.v1 import block_device_pb2 as pb
from virtmesh_common.errors import (
    DeviceAttached,
    DeviceLost,
    DeviceNotReady,
    RingCorrupt,
)

SIZE = DISK_BYTES
VDA = (("virtmesh-device", "vda"),)


SOON_S = 4.0
"""Limit for what must not wait for a time-out: less than the grace of a service that stops."""

KINDS = {"vda": "blk", "vdb": "blk"}


async def test_a_device_that_comes_back_is_used_again(world: World) -> None:
    """Losing the service fails what waits; when it is there again, so is the data."""
    async with world.serve_disk():
        await world.ready("vda")
        await world.write(0, [b"kept"])
        await world.disks.Flush(pb.FlushRequest(device="vda"))
    await world.server.kernel.device("vda").until(ProbeState.WAITING)

    assert isinstance(await failure_of(world.read(0, 4)), DeviceNotReady | DeviceLost)

    async with world.serve_disk():
        await world.ready("vda")
        assert await world.read(0, 4) == b"kept"
        assert world.server.kernel.device("vda").attaches == 2


async def test_a_device_of_another_driver_is_waited_for(tmp_path: Path) -> None:
    """The state says who has it; when that one leaves, the kernel takes it."""
    with Ram(1 << 20) as ram:
        async with serving_disk(tmp_path):
            other = await attach(tmp_path, ram, "other")
            async with serving(tmp_path, KINDS) as world:
                device = world.server.kernel.device("vda")
                await device.until(ProbeState.WAITING, detail="other")
                request = pb.FlushRequest(device="vda", retry_for_ms=60_000)
                async with asyncio.timeout(SOON_S):  # It may keep it for good.
                    refusal = await failure_of(world.disks.Flush(request))
                assert isinstance(refusal, DeviceNotReady)

                await other.close()
                await world.ready("vda")


async def test_other_drivers_hear_who_has_the_device(world: World) -> None:
    """A second driver is refused, and told the holder."""
    with Ram(1 << 20) as ram:
        async with world.serve_disk():
            await world.ready("vda")
            with pytest.raises(DeviceAttached, match="test virtmesh-kernel"):
                await attach(world.folder, ram, "other")


async def attach(folder: Path, ram: Ram, driver_name: str) -> GrpcBus:
    """Attach to the disk vda beside the kernel."""
    return await GrpcBus.connect(
        f"unix:{folder}/vda.sock", ram=ram, driver_name=driver_name, doorbell=DoorbellKind.RPC
    )


async def test_a_device_of_the_wrong_name_is_not_used(world: World) -> None:
    """A service that is another device than the tree says is a failure with the mend."""
    other = BlkModel("other", BlkOptions(make_image(world.folder / "other.img")))
    device = world.server.kernel.device("vda")
    async with world.serve(VirtioMmio(other), "vda"):
        await device.until(ProbeState.FAILED)

        assert "is other, not vda" in device.detail


async def test_a_write_under_way_is_finished_when_the_kernel_stops(tmp_path: Path) -> None:
    """Its client is gone already; the device answers while the kernel gives it back."""
    model = ScriptedDisk()
    async with serving_device(tmp_path, VirtioMmio(model)):
        async with serving(tmp_path, KINDS) as world:
            await world.ready("vda")
            model.hold = True
            disk = as_disk("vda", world.server.kernel.driver("vda"))
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
    async with world.serve_scripted(model):
        await world.ready("vda")
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
        async with world.serve_disk():
            await world.ready("vda")
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


async def test_a_device_that_lied_leaves_no_ram_behind(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error has a trace, which knows the driver; the driver has the error."""

    def lie(*_: object) -> None:
        raise RingCorrupt("chain 7 was never given to it")

    gc.disable()
    try:
        async with world.serve_disk():
            await world.ready("vda")
            device = world.server.kernel.device("vda")
            driver = device.ready_driver()
            inode = os.fstat(driver.bus.ram.descriptor).st_ino
            monkeypatch.setattr(driver, "completed", lie)
            with pytest.raises(grpc.aio.AioRpcError, match="never given to it"):
                await world.write(0, [b"x" * 4096])
            await device.until(ProbeState.FAILED)
            monkeypatch.undo()
            await world.ready("vda")
            del driver

            async with asyncio.timeout(SOON_S):
                while is_mapped(inode):  # noqa: ASYNC110 - the system tells nobody
                    await asyncio.sleep(0.01)
    finally:
        gc.enable()
