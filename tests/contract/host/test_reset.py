"""Resets as a driver sees them: answered when they are done, in a bounded time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any

import grpc.aio
import pytest
from structlog.testing import capture_logs

from tests.contract.conftest import QUEUE_SIZE_MAX, Served, serving
from tests.support.storage_gate import StorageGate, gated
from virtmesh.attach.guest_ram import PageAllocator
from virtmesh.blk.kind import KIND as BLK
from virtmesh.blk.model import BlkModel, BlkOptions
from virtmesh.host import host
from virtmesh.testing.scripted_driver import (
    DRIVEN,
    LIVE,
    NEGOTIATED,
    BlkRequest,
    GrpcRegisters,
    ScriptedDriver,
)
from virtmesh.virtio.mmio_device import VirtioMmio
from virtmesh_common.api.block.v1 import block_pb2, block_pb2_grpc
from virtmesh_common.api.device.v1 import device_pb2
from virtmesh_common.api.register.v1 import register_pb2 as pb
from virtmesh_common.api.register.v1.register_pb2_grpc import RegisterServiceStub
from virtmesh_common.blk.spec import BlkFeature, RequestType
from virtmesh_common.channel import SESSION_KEY
from virtmesh_common.errors import DriverViolation, ResetUnderWay, from_rpc_error
from virtmesh_common.memory_map import RAM_ADDRESS
from virtmesh_common.virtio import mmio
from virtmesh_common.virtio.features import Feature

PLAIN = Feature.VIRTIO_F_VERSION_1 | BlkFeature.VIRTIO_BLK_F_FLUSH
TIMES = 1000
LARGE = 128 << 10
"""More than a queue executes at once, on its own thread."""
BOUND = 10.0
"""In which a reset ends on a loaded host, unless a read or write is stuck; in seconds. Who waits
for the storage is refused after STUCK."""
FLUSHES = 64
"""More than the event loop has threads to lend."""
STUCK = 1.0
"""How long a caller waits for one that is; in seconds."""
SLACK = 20.0
"""What a loaded host may add to it. Who waits for the storage waits for the test, longer."""


class Batching:
    """Implements RegisterAccess: writes wait for the next read, and go in one batch with it."""

    def __init__(self, channel: Any, session: str | None) -> None:
        self._stream: Any = RegisterServiceStub(channel).Access(
            metadata=((SESSION_KEY, session),) if session else ()
        )
        self._batch: list[tuple[int, int, int]] = []

    async def read(self, offset: int, width: int = 4) -> int:
        """Send the batch; return the value of its last access. Errors: DriverViolation."""
        self._batch.append((offset, width, 0))
        offsets, ops, values = ([one[column] for one in self._batch] for column in range(3))
        self._batch.clear()
        await self._stream.write(pb.AccessRequest(offsets=offsets, ops=ops, values=values))
        answer: pb.AccessResponse = await self._stream.read()
        if answer.HasField("error"):
            raise DriverViolation(answer.error.message)
        return answer.values[-1]

    async def write(self, offset: int, value: int, width: int = 4) -> None:
        """Add a write to the batch."""
        self._batch.append((offset, 0x80 | width, value))

    async def notify(self, queue: int) -> None:
        """Fail: the drivers here notify by eventfd."""
        raise AssertionError(queue)


def batching(served: Served, driver: ScriptedDriver) -> ScriptedDriver:
    """Return the driver with a plane that sends batches."""
    assert isinstance(driver.plane, GrpcRegisters)
    plane = Batching(served.channel, driver.plane.session)
    return ScriptedDriver(plane, driver.ram, driver.doorbells)


async def initialise(driver: ScriptedDriver) -> None:
    """Write 0 to Status and initialise the device, without a look at whether it is reset."""
    driver.ram.pages = PageAllocator(RAM_ADDRESS, driver.ram.size)
    await driver.put(mmio.STATUS, 0)
    assert await driver.negotiate(PLAIN) == NEGOTIATED
    await driver.set_up_queue(0)
    await driver.go()
    assert await driver.get(mmio.STATUS) == LIVE


async def test_a_device_is_reset_at_the_next_access_of_the_batch(served: Served) -> None:
    """Status = 0, 1, 3, a thousand times, each in one batch, with a live queue before."""
    async with served.attached() as attached:
        driver = batching(served, attached)
        for _ in range(TIMES):
            await initialise(driver)
            await driver.put(mmio.STATUS, 0)
            await driver.put(mmio.STATUS, 1)
            await driver.put(mmio.STATUS, 3)
            assert await driver.get(mmio.STATUS) == DRIVEN


async def test_a_driver_that_never_polls_initialises_the_device_again(served: Served) -> None:
    """A thousand times: a read that is answered, requests in flight, and all from the beginning."""
    async with served.attached() as attached:
        driver = batching(served, attached)
        for number in range(TIMES):
            await initialise(driver)
            sector = number % 1024
            status, data = await driver.request(BlkRequest.read(sector, 512), by="eventfd")
            assert (status, data[:8]) == (0, sector.to_bytes(8, "little"))
            driver.add(BlkRequest.read(0, LARGE))
            driver.add(BlkRequest(RequestType.VIRTIO_BLK_T_FLUSH, 0))
            await driver.ring(0, by="eventfd")


async def test_unary_writes_wait_too(served: Served) -> None:
    """As a script does it: each call sees what the one before has done."""
    async with served.attached() as driver:
        for _ in range(TIMES // 10):
            driver.ram.pages = PageAllocator(RAM_ADDRESS, driver.ram.size)
            await driver.bring_up(PLAIN)
            driver.add(BlkRequest.read(0, LARGE))
            await driver.ring(0, by="eventfd")
            await driver.put(mmio.STATUS, 0)
            assert await driver.get(mmio.STATUS) == 0


async def test_a_queue_is_not_ready_at_the_next_access(served: Served) -> None:
    """Linux warns when QueueReady does not read 0 after it has written 0."""
    async with served.attached() as attached:
        driver = batching(served, attached)
        for _ in range(TIMES // 10):
            await initialise(driver)
            driver.add(BlkRequest.read(0, LARGE))
            await driver.ring(0, by="eventfd")
            await driver.put(mmio.QUEUE_READY, 0)
            assert await driver.get(mmio.QUEUE_READY) == 0


# -- Storage that does not answer ------------------------------------------------------------------


class Slow:
    """A disk whose storage answers when the test says so, and its service."""

    def __init__(self, served: Served, gate: StorageGate) -> None:
        self.served = served
        self.gate = gate

    @asynccontextmanager
    async def busy(self, request: BlkRequest) -> AsyncIterator[ScriptedDriver]:
        """Attach a driver whose request is in the storage."""
        async with self.served.attached("busy") as driver:
            await driver.bring_up(PLAIN)
            driver.add(request)
            await driver.ring(0, by="eventfd")
            self.held = await asyncio.to_thread(self.gate.next)
            yield driver


FLUSH = BlkRequest(RequestType.VIRTIO_BLK_T_FLUSH, 0)
READ = BlkRequest.read(8, LARGE)


@pytest.fixture
async def slow(image: Path, tmp_path: Path) -> AsyncIterator[Slow]:
    """Serve a disk on slow storage."""

    def make() -> VirtioMmio:
        return VirtioMmio(BlkModel("vda", BlkOptions(image, queues=2, queue_size=QUEUE_SIZE_MAX)))

    device, gate = gated(make, "fdatasync", "preadv2")
    async with serving(device, BLK, folder=tmp_path) as served:
        yield Slow(served, gate)
        gate.open()
    device.close()


async def timed(call: Any) -> float:
    """Await a call; return how long it took, in seconds."""
    begun = time.monotonic()
    await call
    return time.monotonic() - begun


async def test_a_reset_does_not_wait_for_a_flush(slow: Slow) -> None:
    """And the flush touches no guest memory after that, when it ends."""
    async with slow.busy(FLUSH) as driver:
        assert await timed(driver.put(mmio.STATUS, 0)) < BOUND
        assert await driver.get(mmio.STATUS) == 0
        before = driver.ram.view(RAM_ADDRESS, driver.ram.size).tobytes()
        slow.held.let_go()
        slow.gate.open()
        await driver.bring_up(PLAIN, queues=0)
        assert driver.ram.view(RAM_ADDRESS, driver.ram.size).tobytes() == before


async def test_a_reset_waits_for_no_flush_of_the_owner(slow: Slow) -> None:
    """However many are asked for while the storage does not answer."""
    admin = block_pb2_grpc.BlockAdminServiceStub(slow.served.channel)
    async with slow.busy(READ) as driver:
        driver.add(FLUSH)
        await driver.ring(0, by="eventfd")
        held = await asyncio.to_thread(slow.gate.next)
        flushes = [
            asyncio.ensure_future(admin.Flush(block_pb2.FlushRequest())) for _ in range(FLUSHES)
        ]
        assert not (await asyncio.wait(flushes, timeout=STUCK / 2))[0]
        reset = asyncio.create_task(timed(driver.put(mmio.STATUS, 0)))
        while not slow.served.host.device.settling:
            await driver.get(mmio.STATUS)
        slow.held.let_go()
        await reset
        while await driver.get(mmio.STATUS):  # For ever if it waits for a flush.
            pass
        held.let_go()
        await asyncio.gather(*flushes)


async def test_a_detach_and_the_next_driver_do_not_wait_for_a_flush(slow: Slow) -> None:
    """A driver that dies during a flush leaves a device that is free at once."""
    async with slow.busy(FLUSH) as driver:
        assert isinstance(driver.plane, GrpcRegisters)
        detach = slow.served.control.Detach(
            device_pb2.DetachRequest(), metadata=driver.plane.metadata
        )
        assert await timed(detach) < BOUND
    async with slow.served.attached("next") as driver:
        await driver.bring_up(PLAIN)
        status, _ = await driver.request(BlkRequest.read(3, 512))
        assert status == 0


async def test_a_stuck_read_keeps_status_until_it_ends(slow: Slow) -> None:
    """The answer comes after a second, the log names the request, and others go on meanwhile."""
    async with slow.busy(READ) as driver:
        with capture_logs() as lines:
            reset = asyncio.create_task(timed(driver.put(mmio.STATUS, 0)))
            answers = []
            while not reset.done():  # Observers are answered: the service waits for nothing.
                answers.append(await timed(driver.get(mmio.STATUS)))
        assert median(answers) < STUCK / 2
        assert STUCK <= await reset < STUCK + SLACK
        assert await driver.get(mmio.STATUS) == LIVE
        (line,) = (one for one in lines if "stuck" in one["event"])
        assert line["request"].startswith("IN at sector 8, begun ")
        with pytest.raises(DriverViolation, match="wait until Status reads 0"):
            await driver.put(mmio.STATUS, 1)
        slow.held.let_go()
        while await driver.get(mmio.STATUS):
            pass
        slow.gate.open()
        await driver.bring_up(PLAIN)
        assert (await driver.request(BlkRequest.read(3, 512)))[0] == 0


async def test_who_asks_meanwhile_is_told_why(slow: Slow) -> None:
    """Reset, Detach and Attach end after a second, each with the request that is stuck."""
    async with slow.busy(READ) as driver:
        assert isinstance(driver.plane, GrpcRegisters)
        control, metadata = slow.served.control, driver.plane.metadata
        calls: tuple[Callable[[], Any], ...] = (
            lambda: control.Reset(device_pb2.ResetRequest(), metadata=metadata),
            lambda: control.Detach(device_pb2.DetachRequest(), metadata=metadata),
        )
        for call in calls:
            begun = time.monotonic()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call()
            error = from_rpc_error(caught.value)
            assert isinstance(error, ResetUnderWay)
            assert "IN at sector 8" in error.message
            assert STUCK <= time.monotonic() - begun < STUCK + SLACK
        with pytest.raises(ResetUnderWay, match="busy has gone"):
            async with slow.served.attached("next"):
                pass
    slow.held.let_go()
    slow.gate.open()
    async with slow.served.attached("next") as driver:
        await driver.bring_up(PLAIN)


@pytest.mark.parametrize(("request_", "drained"), [(FLUSH, True), (READ, False)])
async def test_a_service_ends_in_time(
    image: Path, tmp_path: Path, request_: BlkRequest, *, drained: bool
) -> None:
    """A flush is not waited for; a read is for a bounded time: then the process ends with it."""

    def make() -> VirtioMmio:
        return VirtioMmio(BlkModel("vda", BlkOptions(image, queues=2)))

    device, gate = gated(make, "fdatasync", "preadv2")
    async with serving(device, BLK, folder=tmp_path) as served:
        slow = Slow(served, gate)
        async with slow.busy(request_):
            begun = time.monotonic()
            assert await served.host.stop() is drained
            assert time.monotonic() - begun < host.DRAIN_SECONDS + SLACK
        gate.open()
    await asyncio.to_thread(device.close)
