"""The register channel: the interrupt line in its answers, and resets."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from tests.contract.conftest import IMAGE_BYTES, Served, serving
from tests.support.line_end import LineEnd
from tests.support.raw_channel import RawChannel, raw_channel
from tests.support.storage_gate import gated
from virtmesh.attach.asyncfd import readable
from virtmesh.attach.guest_ram import PageAllocator
from virtmesh.blk.kind import KIND as BLK
from virtmesh.blk.model import BlkModel, BlkOptions
from virtmesh.host.batch import WRITE
from virtmesh.testing.scripted_driver import BlkRequest, ScriptedDriver
from virtmesh.uart.model import UartDevice, UartOptions
from virtmesh.virtio.mmio_device import VirtioMmio
from virtmesh_common.api.device.v1 import device_pb2
from virtmesh_common.api.register.v1 import register_pb2
from virtmesh_common.api.register.v1.register_pb2_grpc import RegisterServiceStub
from virtmesh_common.channel import SESSION_KEY
from virtmesh_common.errors import NotAttached, ResetUnderWay, from_rpc_error
from virtmesh_common.memory_map import RAM_ADDRESS
from virtmesh_common.uart.spec import Ier, Registers
from virtmesh_common.virtio import mmio
from virtmesh_common.virtio.features import Feature

READ_MAGIC = (mmio.MAGIC_VALUE.offset, 4, 0)
READ_STATUS = (mmio.STATUS.offset, 4, 0)
ACKNOWLEDGE_ALL = (mmio.INTERRUPT_ACK.offset, 4 | WRITE, 3)
LIMIT = 4000
UART = Registers()


def to_status(value: int) -> tuple[int, int, int]:
    """Make the write of Status."""
    return mmio.STATUS.offset, 4 | WRITE, value


@pytest.fixture
async def raw(served: Served) -> AsyncIterator[RawChannel]:
    """Attach a driver to the disk."""
    async with raw_channel(served.handover, served.channel) as raw:
        yield raw


async def detached(served: Served) -> None:
    """Wait until nobody holds the device."""
    while (await served.control.GetStatus(device_pb2.GetStatusRequest())).attached:
        pass


# -- The line --------------------------------------------------------------------------------------


async def told(raw: RawChannel) -> None:
    """Wait until the line eventfd is signalled."""
    while not raw.line_told():
        await readable(raw.line)


async def test_a_used_buffer_signals_the_line(served: Served) -> None:
    """It rises from a native thread; the channel tells the level, and the fall by its answer."""
    async with served.attached(by_channel=True) as driver:
        await driver.bring_up(Feature.VIRTIO_F_VERSION_1)
        interrupt = served.host.device.interrupt
        line = os.eventfd(0, os.EFD_NONBLOCK)
        interrupt.set_line_call(line)
        driver.add(BlkRequest.read(0, 512))
        await driver.ring(0, by="eventfd")
        await readable(line)
        os.eventfd_read(line)
        await driver.put(mmio.INTERRUPT_ACK, 3)
        with pytest.raises(BlockingIOError):
            os.eventfd_read(line)
        interrupt.set_line_call(None)
        os.close(line)


async def test_the_line_is_signalled_for_what_no_answer_tells(
    served: Served, raw: RawChannel, device: VirtioMmio
) -> None:
    """A rise, a new cause, and a fall by the gRPC of the same driver; no fall by the channel."""
    device.interrupt.raise_config()
    assert raw.line_told()
    device.interrupt.raise_config()
    assert not raw.line_told()
    device.interrupt.raise_used(0)
    assert raw.line_told()
    assert not (await raw.ask(ACKNOWLEDGE_ALL)).asserted
    assert not raw.line_told()
    device.interrupt.raise_config()
    assert raw.line_told()
    request = register_pb2.WriteRequest(offset=mmio.INTERRUPT_ACK.offset, width_bytes=4, value=3)
    await RegisterServiceStub(served.channel).Write(request, metadata=raw.metadata)
    assert raw.line_told()


async def test_a_serial_port_signals_its_line(
    serve: Callable[..., AbstractAsyncContextManager[Served]],
) -> None:
    """A character raises it; the answer to the write of IER tells its own rise and fall."""
    port = UartDevice("serial", UartOptions())
    end = LineEnd(port.line)
    async with serve(port) as served, raw_channel(served.handover, served.channel) as raw:
        ier = UART.ier.offset
        risen = await raw.ask((ier, 1 | WRITE, int(Ier.ETBEI)))
        fallen = await raw.ask((ier, 1 | WRITE, 0))
        assert (risen.asserted, fallen.asserted, raw.line_told()) == (True, False, False)
        await raw.ask((UART.lcr.offset, 1 | WRITE, 3), (ier, 1 | WRITE, int(Ier.ERBFI)))
        end.line.send_now(b"x")
        await told(raw)
        assert (await raw.ask()).asserted
        read = await raw.ask((UART.rbr.offset, 1, 0))
        assert (read.values, read.asserted) == ((ord("x"),), False)


async def test_the_line_of_a_driver_that_left_is_not_signalled(
    served: Served, raw: RawChannel, device: VirtioMmio
) -> None:
    """Detach drops the eventfd with the rest."""
    await served.control.Detach(device_pb2.DetachRequest(), metadata=raw.metadata)
    device.interrupt.raise_config()
    assert not raw.line_told()


# -- Resets ----------------------------------------------------------------------------------------


async def test_a_reset_is_answered_when_it_is_done(served: Served) -> None:
    """With a live queue before, many times; the next access finds the device reset."""
    async with served.attached(by_channel=True) as driver:
        for _ in range(300):
            driver.ram.pages = PageAllocator(RAM_ADDRESS, driver.ram.size)
            await driver.bring_up(Feature.VIRTIO_F_VERSION_1)
            await driver.put(mmio.STATUS, 0)
            assert await driver.get(mmio.STATUS) == 0


@pytest.fixture
async def stuck(image: Path, tmp_path: Path) -> AsyncIterator[tuple[Served, Any]]:
    """Serve a disk whose storage answers when the test says so."""

    def make() -> VirtioMmio:
        return VirtioMmio(BlkModel("vda", BlkOptions(image, queues=2)))

    device, gate = gated(make, "preadv2")
    async with serving(device, BLK, folder=tmp_path) as served:
        yield served, gate
        gate.open()
    device.close()


async def busy(driver: ScriptedDriver, gate: Any) -> Any:
    """Have a large read in the storage. Returns the call that is held."""
    await driver.bring_up(Feature.VIRTIO_F_VERSION_1)
    driver.add(BlkRequest.read(8, 128 << 10))
    await driver.ring(0, by="eventfd")
    return await asyncio.to_thread(gate.next)


async def test_others_go_on_while_a_reset_waits(stuck: tuple[Served, Any]) -> None:
    """The answer comes when the storage has answered."""
    served, gate = stuck
    async with served.attached(by_channel=True) as driver:
        held = await busy(driver, gate)
        reset = asyncio.ensure_future(driver.put(mmio.STATUS, 0))
        while not served.host.device.settling:
            await served.control.GetStats(device_pb2.GetStatsRequest())
        assert not reset.done()
        held.let_go()
        gate.open()
        await reset
        assert await driver.get(mmio.STATUS) == 0


async def test_a_disk_says_which_request_its_storage_has_and_since_when(
    stuck: tuple[Served, Any],
) -> None:
    """It answers, whatever its storage does."""
    served, gate = stuck
    async with served.attached(by_channel=True) as driver:
        idle = await served.control.GetStatus(device_pb2.GetStatusRequest())
        held = await busy(driver, gate)
        begun = await served.control.GetStatus(device_pb2.GetStatusRequest())
        later = await served.control.GetStatus(device_pb2.GetStatusRequest())
        held.let_go()
        gate.open()

    assert not idle.HasField("executing")
    assert begun.executing.request == "IN at sector 8"
    assert begun.executing.age_us < later.executing.age_us


async def test_a_guest_of_a_cpu_sees_no_error_of_storage_that_comes_back(
    image: Path, tmp_path: Path
) -> None:
    """A board drives a disk by its register channel and eventfds; a reset drops what is held."""
    device = VirtioMmio(BlkModel("vda", BlkOptions(image, queues=2, on_error="stop")))
    async with serving(device, BLK, folder=tmp_path) as served:

        async def held() -> None:
            while not (
                await served.control.GetStatus(device_pb2.GetStatusRequest())
            ).executing.held:
                pass

        async with served.attached(by_channel=True) as driver:
            await driver.bring_up(Feature.VIRTIO_F_VERSION_1)
            os.truncate(image, 512)
            asked = asyncio.create_task(driver.request(BlkRequest.read(8, 512), by="eventfd"))
            await held()
            os.truncate(image, IMAGE_BYTES)
            assert (await asked)[0] == 0

            os.truncate(image, 512)
            driver.add(BlkRequest.read(8, 512))
            await driver.ring(0, by="eventfd")
            await held()
            await driver.put(mmio.STATUS, 0)
            assert await driver.get(mmio.STATUS) == 0
    device.close()


async def test_a_driver_that_leaves_while_its_reset_waits_is_released(
    stuck: tuple[Served, Any],
) -> None:
    """The end is seen although nothing is received meanwhile."""
    served, gate = stuck
    async with served.attached(by_channel=True) as driver:
        held = await busy(driver, gate)
        reset = asyncio.ensure_future(driver.put(mmio.STATUS, 0))
        while not served.host.device.settling:
            await served.control.GetStats(device_pb2.GetStatsRequest())
    reset.cancel()
    held.let_go()
    gate.open()
    await detached(served)


async def test_a_detach_while_a_reset_waits_ends_the_channel(stuck: tuple[Served, Any]) -> None:
    """Whoever waits for the answer hears the end of the connection."""
    served, gate = stuck
    async with served.attached(by_channel=True) as driver:
        held = await busy(driver, gate)
        reset = asyncio.ensure_future(driver.put(mmio.STATUS, 0))
        while not served.host.device.settling:
            await served.control.GetStats(device_pb2.GetStatsRequest())
        plane: Any = driver.plane
        detach = served.control.Detach(
            device_pb2.DetachRequest(), metadata=((SESSION_KEY, plane.session),)
        )
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await detach
        assert isinstance(from_rpc_error(caught.value), ResetUnderWay)
        held.let_go()
        gate.open()
        with pytest.raises(NotAttached):
            await reset
