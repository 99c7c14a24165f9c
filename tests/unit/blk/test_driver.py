"""VirtIOBlk against a disk that does what a test says, good or bad."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pytest

from tests.support.scripted_blk import bus_of, driving
from virtmesh.attach.guest_ram import Ram
from virtmesh.blk.driver import VirtIOBlk
from virtmesh.machine import InterruptMode
from virtmesh.testing.local_bus import LocalBus
from virtmesh.testing.scripted_disk import FEATURES, ScriptedDisk
from virtmesh.virtio.mmio_device import VirtioMmio
from virtmesh_common.blk import spec as blk
from virtmesh_common.blk.errors import BlockIOError, BlockReadOnly, BlockUnsupported
from virtmesh_common.blk.spec import BlkFeature, RequestType
from virtmesh_common.errors import (
    DeviceLost,
    DeviceNeedsReset,
    DriverError,
    FeaturesRejected,
    QueueUnusable,
    RingCorrupt,
    VirtmeshError,
)
from virtmesh_common.virtio import mmio
from virtmesh_common.virtio.features import Feature

if TYPE_CHECKING:
    from virtmesh_common.registers import Register

IN, OUT = RequestType.VIRTIO_BLK_T_IN, RequestType.VIRTIO_BLK_T_OUT
SOON_S = 10.0
"""Limit for what must not take forever."""
PLAIN = FEATURES & ~int(Feature.VIRTIO_F_INDIRECT_DESC)


@pytest.mark.parametrize("mode", list(InterruptMode))
async def test_a_request_has_header_data_and_status(mode: InterruptMode) -> None:
    """A write sends BlkReq and the data, and takes one byte back; a read takes data as well."""
    model = ScriptedDisk()
    async with driving(model, mode) as driver:
        await driver.write(512, b"x" * 1024)
        data = await driver.read(512, 1024)

        write, read = model.seen
        assert (write.type, write.sector, write.out, write.room) == (OUT, 1, b"x" * 1024, 0)
        assert (read.type, read.sector, read.out, read.room) == (IN, 1, b"", 1024)
        assert bytes(data) == b"x" * 1024
        assert driver.serial == "scripted"


@pytest.mark.parametrize(
    ("status", "error"), [(1, BlockIOError), (2, BlockUnsupported), (7, BlockIOError)]
)
async def test_a_status_is_an_exception(status: int, error: type[VirtmeshError]) -> None:
    """IOERR, UNSUPP, and what the text does not know; the disk stays in use."""
    model = ScriptedDisk(hold=True)
    async with driving(model) as driver:
        read = asyncio.create_task(driver.read(0, 512))
        (request,) = await model.arrived(1)
        model.answer(request, status=status)

        with pytest.raises(error, match="VIRTIO_BLK_T_IN at sector 0"):
            await read

        model.hold = False
        assert len(await driver.read(0, 512)) == 512


async def test_requests_come_back_in_any_order() -> None:
    """Each waiter gets its own data, whichever request is answered first."""
    model = ScriptedDisk(hold=True)
    model.data[:] = b"".join(bytes([sector]) * 512 for sector in range(256))
    async with driving(model) as driver:
        reads = [asyncio.create_task(driver.read(512 * sector, 512)) for sector in range(20)]
        for request in reversed(await model.arrived(20)):
            model.answer(request)

        for sector, read in enumerate(reads):
            assert bytes(await read) == bytes([sector]) * 512


async def test_what_the_device_did_not_write_is_not_data() -> None:
    """A read that claims success and wrote less is an error, not somebody's old data."""
    model = ScriptedDisk(hold=True)
    async with driving(model) as driver:
        read = asyncio.create_task(driver.read(0, 1024))
        (request,) = await model.arrived(1)
        model.answer(request, written=513)

        with pytest.raises(BlockIOError, match="wrote 513 bytes of 1025"):
            await read


async def test_a_status_that_was_not_written_is_no_success() -> None:
    """The status byte of a new request is never the one that the last request left."""
    model = ScriptedDisk(hold=True)
    async with driving(model) as driver:
        write = asyncio.create_task(driver.write(0, bytes(512)))
        (request,) = await model.arrived(1)
        request.chain.push(1)

        with pytest.raises(BlockIOError, match="unknown status 255"):
            await write


async def test_a_cancelled_request_keeps_its_slot_until_it_is_used() -> None:
    """Memory that the device may still write to serves nobody else."""
    model = ScriptedDisk(hold=True, features=PLAIN, queue_size_max=(4,))
    async with driving(model) as driver:
        first = asyncio.create_task(driver.read(0, 512))
        (held,) = await model.arrived(1)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        second = asyncio.create_task(driver.read(512, 512))
        for _ in range(5):
            await asyncio.sleep(0)

        assert model.held == [held]
        assert driver.in_flight == 1
        model.data[512:1024] = b"s" * 512
        model.answer(held)
        (request,) = await model.arrived(1)
        model.answer(request)

        assert bytes(await second) == b"s" * 512


async def test_a_request_that_waited_while_the_device_broke_fails() -> None:
    """A good chain and a broken one came at once: the next request never reaches the device."""
    model = ScriptedDisk(hold=True, features=PLAIN, queue_size_max=(4,))
    async with driving(model) as driver:
        first = asyncio.create_task(driver.read(0, 512))
        (held,) = await model.arrived(1)
        second = asyncio.create_task(driver.write(512, b"x" * 512))
        for _ in range(5):
            await asyncio.sleep(0)
        model.answer(held)
        driver.handle_irq(mmio.INTERRUPT_USED_BUFFER)
        driver.fail(RingCorrupt("the next chain is corrupt"))

        with pytest.raises(RingCorrupt):
            await second
        assert len(await first) == 512
        assert driver.in_flight == 0


async def test_tasks_wait_their_turn_when_the_ring_is_full() -> None:
    """A hundred tasks share a ring of one request; all are served, in order."""
    model = ScriptedDisk(features=PLAIN, queue_size_max=(4,))
    async with driving(model) as driver:
        order: list[int] = []

        async def read(number: int) -> None:
            await driver.read(512 * number, 512)
            order.append(number)

        await asyncio.gather(*(read(number) for number in range(100)))

        assert order == list(range(100))
        assert driver.slots.waits.count == 99


@pytest.mark.parametrize(
    ("size_max", "seg_max", "request_size"),
    [(512, 1, 512), (128, 4, 512), (100, 30, 2560), (1 << 20, 30, 97792), (4096, 3, 12288)],
)
@pytest.mark.parametrize("features", [FEATURES, PLAIN])
async def test_segments_respect_the_limits(
    size_max: int, seg_max: int, request_size: int, features: int
) -> None:
    """No segment is larger than size_max and no request has more of them than seg_max."""
    model = ScriptedDisk(features=features, config={blk.SIZE_MAX: size_max, blk.SEG_MAX: seg_max})
    async with driving(model) as driver:
        assert driver.request_size_max == request_size
        data = bytes(range(256)) * 400
        await driver.write(100, data)

        assert bytes(await driver.read(100, len(data))) == data
        for request in model.seen:
            *segments, status = request.chain.writable
            assert status[1] == 1
            assert len(segments) <= seg_max
            assert all(length <= size_max for _, length in segments)


@pytest.mark.parametrize(
    ("config", "queues", "error", "why"),
    [
        ({blk.SIZE_MAX: 100, blk.SEG_MAX: 5}, (64,), QueueUnusable, "not even one block"),
        ({blk.SIZE_MAX: 0}, (64,), DriverError, "size_max of vda is 0"),
        ({blk.BLK_SIZE: 1000}, (64,), DriverError, "not a power of two"),
        ({blk.BLK_SIZE: 0}, (64,), DriverError, "not a power of two"),
        ({}, (2,), QueueUnusable, "a request needs 3"),
        ({blk.BLK_SIZE: 1 << 31}, (64,), QueueUnusable, "not even one block"),
    ],
)
async def test_disks_that_make_no_sense_are_refused(
    config: Mapping[Register, int], queues: Sequence[int], error: type[DriverError], why: str
) -> None:
    """The driver says why, and sets FAILED."""
    model = ScriptedDisk(config=config, queue_size_max=queues)
    with Ram(4 << 20) as ram:
        device = VirtioMmio(model)
        bus = LocalBus(device, ram)

        with pytest.raises(error, match=why):
            await VirtIOBlk(bus).start()

        assert "FAILED" in device.state.device_status_names
        await bus.close()


async def test_ram_that_is_too_small_is_an_error_with_the_mend() -> None:
    """Large blocks need more RAM than the machine has."""
    model = ScriptedDisk(config={blk.BLK_SIZE: 1 << 16, blk.SIZE_MAX: 1 << 20})
    with pytest.raises(DriverError, match="give the machine more"):
        async with driving(model, memory=1 << 20):
            pytest.fail("it started")


async def test_a_legacy_device_is_refused() -> None:
    """Without VIRTIO_F_VERSION_1 there is nothing to talk about."""
    model = ScriptedDisk(features=0)
    with pytest.raises(FeaturesRejected, match="VIRTIO_F_VERSION_1"):
        async with driving(model):
            pytest.fail("it started")


@pytest.mark.parametrize("mode", list(InterruptMode))
async def test_a_lost_device_fails_everyone_at_once(mode: InterruptMode) -> None:
    """In flight, waiting for a slot, or coming later: each gets DeviceLost."""
    model = ScriptedDisk(hold=True, features=PLAIN, queue_size_max=(4,))
    async with driving(model, mode) as driver:
        tasks = [asyncio.create_task(driver.read(0, 512)) for _ in range(5)]
        await model.arrived(1)

        bus_of(driver).lose("pulled out")

        for task in tasks:
            with pytest.raises(DeviceLost, match="pulled out"):
                await task
        with pytest.raises(DeviceLost):
            await driver.read(0, 512)
        with pytest.raises(DeviceLost):
            await driver.flush()


async def test_a_device_that_needs_a_reset_fails_everyone() -> None:
    """DEVICE_NEEDS_RESET comes with a configuration interrupt; the driver has failed."""
    model = ScriptedDisk(hold=True)
    async with driving(model) as driver:
        read = asyncio.create_task(driver.read(0, 512))
        await model.arrived(1)
        model.interrupt.set_fault("broken")

        with pytest.raises(DeviceNeedsReset):
            await read
        assert isinstance(await driver.failed, DeviceNeedsReset)


async def test_a_corrupt_ring_fails_everyone() -> None:
    """A device that uses what it was not given is not trusted any further."""
    model = ScriptedDisk(hold=True)
    async with driving(model) as driver:
        read = asyncio.create_task(driver.read(0, 512))
        await model.arrived(1)
        layout = driver.queues[0].layout
        driver.bus.ram.guest_memory.write(layout.device_area + 2, b"\xff\x7f")
        model.interrupt.raise_used(0)

        with pytest.raises(RingCorrupt):
            await read
        assert isinstance(await driver.failed, RingCorrupt)


async def test_a_resize_is_seen() -> None:
    """The configuration interrupt makes the driver read the capacity again."""
    model = ScriptedDisk(sectors=256)
    async with driving(model) as driver:
        reread = asyncio.Event()
        read_capacity = driver.config_changed

        async def config_changed() -> None:
            await read_capacity()
            reread.set()

        driver.config_changed = config_changed  # type: ignore[method-assign]
        model.resize(512)
        await reread.wait()

        assert driver.capacity == 512 * 512
        assert len(await driver.read(400 * 512, 512)) == 512


async def test_a_read_only_disk_is_not_written() -> None:
    """The driver refuses by itself."""
    model = ScriptedDisk(features=FEATURES | BlkFeature.VIRTIO_BLK_F_RO)
    async with driving(model) as driver:
        assert driver.read_only
        with pytest.raises(BlockReadOnly):
            await driver.write(0, bytes(512))

        assert model.seen == []


async def test_flush_without_the_feature_sends_nothing() -> None:
    """A disk without FLUSH is write-through: what is complete is durable (5.2.6.2)."""
    model = ScriptedDisk(features=FEATURES & ~int(BlkFeature.VIRTIO_BLK_F_FLUSH))
    async with driving(model) as driver:
        await driver.flush()

        assert not driver.write_back
        assert model.seen == []


async def test_discard_and_zeroes_name_sectors() -> None:
    """Ranges are in sectors of 512 bytes, whatever the block size, and split to the limit."""
    model = ScriptedDisk(config={blk.BLK_SIZE: 4096, blk.WRITE_ZEROES_MAY_UNMAP: 1})
    async with driving(model) as driver:
        await driver.discard(4096, 9 * 4096)
        await driver.write_zeroes(0, 4096, unmap=True)
        await driver.write_zeroes(0, 4096, unmap=False)

        segments = sorted(one for request in model.seen[:2] for one in request.segments)
        assert segments == [(8, 64, 0), (72, 8, 0)]
        assert [request.segments for request in model.seen[2:]] == [[(0, 8, 1)], [(0, 8, 0)]]


async def test_unmap_is_not_asked_of_disks_that_can_not() -> None:
    """write_zeroes_may_unmap is 0: the flag stays clear, the zeroes are written all the same."""
    model = ScriptedDisk()
    async with driving(model) as driver:
        await driver.write_zeroes(0, 512, unmap=True)

        assert model.seen[-1].segments == [(0, 1, 0)]


async def test_queues_share_the_work() -> None:
    """With MQ, requests spread over the queues; at most four are used."""
    model = ScriptedDisk(
        features=FEATURES | BlkFeature.VIRTIO_BLK_F_MQ, queue_size_max=(64,) * 6, hold=True
    )
    async with driving(model) as driver:
        reads = [asyncio.create_task(driver.read(0, 512)) for _ in range(8)]
        for request in await model.arrived(8):
            model.answer(request)
        await asyncio.gather(*reads)

        assert driver.queue_count == 4
        assert sorted(request.chain.queue for request in model.seen) == [0, 0, 1, 1, 2, 2, 3, 3]


async def test_polling_asks_for_no_interrupts() -> None:
    """In polling mode the device hears that it need not raise any, and raises none."""
    model = ScriptedDisk()
    async with driving(model, InterruptMode.POLLING) as driver:
        before = model.interrupt.sequence
        await asyncio.gather(*(driver.read(0, 512) for _ in range(50)))

        assert model.interrupt.sequence == before
        assert driver.requests == 51


async def test_a_device_that_freezes_while_it_is_initialised_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The one who waits can give up: telling a frozen device so is tried for a moment only."""
    with Ram(4 << 20) as ram:
        bus = LocalBus(VirtioMmio(ScriptedDisk()), ram)
        driver = VirtIOBlk(bus)

        async def freeze(_batch: object) -> list[int]:
            await asyncio.Event().wait()
            return []

        with monkeypatch.context() as frozen:
            frozen.setattr(bus, "access", freeze)
            async with asyncio.timeout(SOON_S):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.01):
                        await driver.start()

        assert driver.failed.done()
        await bus.close()
