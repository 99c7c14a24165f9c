"""The register plane, whichever way it is reached (virtio 1.4, 4.2.2)."""

from __future__ import annotations

import pytest

from virtmesh.testing.scripted_driver import (
    DRIVEN,
    NEGOTIATED,
    BlkRequest,
    ScriptedDriver,
    signalled,
)
from virtmesh.virtio.device import VIRTIO_VENDOR_ID
from virtmesh_common.blk import spec as blk
from virtmesh_common.blk.spec import BlkFeature, RequestStatus
from virtmesh_common.errors import (
    BadValue,
    BadWidth,
    DriverViolation,
    Misaligned,
    NoSuchQueue,
    NotReadable,
    NotWritable,
    UnknownRegister,
    VirtmeshError,
)
from virtmesh_common.registers import Register
from virtmesh_common.virtio import mmio
from virtmesh_common.virtio.features import Feature
from virtmesh_common.virtio.status import Status

PLAIN = Feature.VIRTIO_F_VERSION_1 | BlkFeature.VIRTIO_BLK_F_FLUSH
PACKED = PLAIN | Feature.VIRTIO_F_RING_PACKED
ALL_ONES = 0xFFFF_FFFF


async def test_identity_registers(driver: ScriptedDriver) -> None:
    """A driver finds a block device of version 2."""
    registers = (mmio.MAGIC_VALUE, mmio.VERSION, mmio.DEVICE_ID, mmio.VENDOR_ID)
    found = [await driver.get(register) for register in registers]
    assert found == [0x74726976, 2, 2, VIRTIO_VENDOR_ID]


@pytest.mark.parametrize(
    ("offset", "width", "error"),
    [
        (mmio.MAGIC_VALUE.offset, 1, BadWidth),
        (mmio.MAGIC_VALUE.offset, 2, BadWidth),
        (mmio.MAGIC_VALUE.offset, 8, BadWidth),
        (mmio.MAGIC_VALUE.offset, 3, BadWidth),
        (mmio.MAGIC_VALUE.offset, 0, BadWidth),
        (mmio.MAGIC_VALUE.offset + 2, 4, Misaligned),
        (mmio.DEVICE_FEATURES_SEL.offset, 4, NotReadable),
        (mmio.QUEUE_NOTIFY.offset, 4, NotReadable),
        (mmio.QUEUE_PFN.offset, 4, UnknownRegister),
        (0x018, 4, UnknownRegister),
        (mmio.MMIO_SIZE - 4, 4, UnknownRegister),
        (mmio.MMIO_SIZE, 4, UnknownRegister),
        (ALL_ONES, 4, UnknownRegister),
        (blk.CAPACITY.offset, 8, BadWidth),
        (blk.CAPACITY.offset, 1, BadWidth),
        (blk.CAPACITY.offset + 2, 4, Misaligned),
        (blk.NUM_QUEUES.offset, 4, BadWidth),
        (blk.UNUSED1.offset + blk.UNUSED1.size, 1, UnknownRegister),
    ],
)
async def test_bad_reads_are_refused(
    driver: ScriptedDriver, offset: int, width: int, error: type[VirtmeshError]
) -> None:
    """A read that the table doesn't allow is refused by its class."""
    with pytest.raises(error):
        await driver.plane.read(offset, width)


@pytest.mark.parametrize(
    ("offset", "value", "width", "error"),
    [
        (mmio.MAGIC_VALUE.offset, 0, 4, NotWritable),
        (mmio.INTERRUPT_STATUS.offset, 0, 4, NotWritable),
        (mmio.STATUS.offset, 1, 2, BadWidth),
        (mmio.STATUS.offset + 1, 1, 4, Misaligned),
        (mmio.STATUS.offset, 1 << 32, 4, BadValue),
        (mmio.GUEST_PAGE_SIZE.offset, 4096, 4, UnknownRegister),
        (mmio.MMIO_SIZE + 4, 0, 4, UnknownRegister),
        (mmio.QUEUE_READY.offset, 2, 4, BadValue),
        (mmio.QUEUE_RESET.offset, 2, 4, BadValue),
        (mmio.QUEUE_SIZE.offset, 8, 4, DriverViolation),
        (mmio.QUEUE_NOTIFY.offset, 0, 4, DriverViolation),
        (mmio.QUEUE_NOTIFY.offset, 2, 4, NoSuchQueue),
        (mmio.INTERRUPT_ACK.offset, 4, 4, DriverViolation),
        (mmio.DRIVER_FEATURES.offset, 0, 4, DriverViolation),
        (blk.CAPACITY.offset, 0, 4, NotWritable),
        (blk.WRITEBACK.offset, 0, 1, DriverViolation),
    ],
)
async def test_bad_writes_are_refused(
    driver: ScriptedDriver, offset: int, value: int, width: int, error: type[VirtmeshError]
) -> None:
    """A write that the table or the specification doesn't allow is refused, and changes nothing."""
    with pytest.raises(error):
        await driver.plane.write(offset, value, width)
    assert await driver.get(mmio.STATUS) == 0


async def test_wide_config_fields_are_read_in_halves(driver: ScriptedDriver) -> None:
    """The capacity, 64 bits wide, is two accesses of 32 bits (4.2.2.2)."""
    low = await driver.plane.read(blk.CAPACITY.offset)
    high = await driver.plane.read(blk.CAPACITY.offset + 4)
    assert (low, high) == ((1 << 20) // 512, 0)


async def test_a_request_is_served(driver: ScriptedDriver) -> None:
    """A read brings the sector, its interrupt shows in InterruptStatus until acknowledged."""
    await driver.bring_up(PLAIN)
    status, data = await driver.request(BlkRequest.read(sector=5, length=512))
    assert (status, data) == (RequestStatus.VIRTIO_BLK_S_OK, (5).to_bytes(8, "little") * 64)
    assert await driver.get(mmio.INTERRUPT_STATUS) == mmio.INTERRUPT_USED_BUFFER
    await driver.put(mmio.INTERRUPT_ACK, mmio.INTERRUPT_USED_BUFFER)
    assert await driver.get(mmio.INTERRUPT_STATUS) == 0


@pytest.mark.parametrize("by", ["mmio", "rpc", "eventfd"])
async def test_every_doorbell_rings(driver: ScriptedDriver, by: str) -> None:
    """QueueNotify, the Notify RPC and the eventfd all start a request."""
    await driver.bring_up(PLAIN)
    written, _ = await driver.request(BlkRequest.write(7, b"\xab" * 1024), by=by)
    read = await driver.request(BlkRequest.read(7, 1024), by=by)
    assert (written, read) == (0, (0, b"\xab" * 1024))


@pytest.mark.parametrize(
    "features",
    [
        PLAIN & ~Feature.VIRTIO_F_VERSION_1,
        PLAIN | Feature.VIRTIO_F_IN_ORDER,
        PLAIN | BlkFeature.VIRTIO_BLK_F_ZONED,
        PLAIN | BlkFeature.VIRTIO_BLK_F_RO,
        int(PLAIN) | 1 << 50,
        int(PLAIN) | 1 << 63,
    ],
    ids=["no VERSION_1", "IN_ORDER", "ZONED", "RO", "bit 50", "bit 63"],
)
async def test_unacceptable_features_are_refused(driver: ScriptedDriver, features: int) -> None:
    """FEATURES_OK reads back as 0 for a subset that the device can't serve (2.2.2)."""
    await driver.reset()
    assert await driver.negotiate(features) == DRIVEN


async def test_negotiation_can_be_tried_again(driver: ScriptedDriver) -> None:
    """After a refusal a reset starts anew (2.2.2)."""
    await driver.reset()
    await driver.negotiate(Feature(0))
    await driver.reset()
    assert await driver.negotiate(PLAIN) == NEGOTIATED


async def test_features_beyond_those_allotted_are_refused(driver: ScriptedDriver) -> None:
    """There are 128 feature bits (2.2)."""
    await driver.reset()
    await driver.put(mmio.STATUS, DRIVEN)
    await driver.put(mmio.DRIVER_FEATURES_SEL, 4)
    with pytest.raises(DriverViolation):
        await driver.put(mmio.DRIVER_FEATURES, 1)
    await driver.put(mmio.DRIVER_FEATURES, 0)
    await driver.put(mmio.DEVICE_FEATURES_SEL, ALL_ONES)
    assert await driver.get(mmio.DEVICE_FEATURES) == 0


async def test_features_stand_after_features_ok(driver: ScriptedDriver) -> None:
    """A driver accepts no new features after FEATURES_OK (3.1.1)."""
    await driver.reset()
    await driver.negotiate(PLAIN)
    with pytest.raises(DriverViolation):
        await driver.put(mmio.DRIVER_FEATURES, 0)


@pytest.mark.parametrize("size", [3, 12, 32, ALL_ONES])
async def test_queue_sizes_are_checked(driver: ScriptedDriver, size: int) -> None:
    """The size of a split queue is a power of two up to QueueSizeMax (2.7, 4.2.2.2)."""
    await driver.reset()
    await driver.negotiate(PLAIN)
    with pytest.raises(DriverViolation):
        await driver.put(mmio.QUEUE_SIZE, size)


async def test_a_size_of_0_gives_a_queue_up(driver: ScriptedDriver) -> None:
    """Drivers write it, and zero addresses, when they drop a queue; it can't be ready then."""
    await driver.bring_up(PLAIN)
    await driver.put(mmio.QUEUE_READY, 0)
    while await driver.get(mmio.QUEUE_READY):
        pass
    await driver.put(mmio.QUEUE_SIZE, 0)
    await driver.put(mmio.QUEUE_DESC_LOW, 0)
    with pytest.raises(DriverViolation, match="write QueueSize first"):
        await driver.put(mmio.QUEUE_READY, 1)
    await driver.set_up_queue(0)
    assert await driver.get(mmio.QUEUE_READY) == 1


@pytest.mark.parametrize("size", [17, 32, ALL_ONES])
async def test_packed_queue_sizes_are_checked(driver: ScriptedDriver, size: int) -> None:
    """The size of a packed queue is at most QueueSizeMax (4.2.2.2)."""
    await driver.reset()
    await driver.negotiate(PACKED)
    with pytest.raises(DriverViolation):
        await driver.put(mmio.QUEUE_SIZE, size)


@pytest.mark.parametrize("size", [3, 5, 13, 16])
@pytest.mark.parametrize("by", ["mmio", "rpc", "eventfd"])
async def test_packed_queues_of_any_size_are_served(
    driver: ScriptedDriver, size: int, by: str
) -> None:
    """The size of a packed queue need not be a power of two (2.8.10.1)."""
    await driver.reset()
    await driver.negotiate(PACKED)
    await driver.set_up_queue(0, size)
    await driver.go()
    for sector in range(2 * size):
        answer = await driver.request(BlkRequest.read(sector, 512), by=by)
        assert answer == (0, sector.to_bytes(8, "little") * 64)


async def test_a_ready_queue_can_not_be_moved(driver: ScriptedDriver) -> None:
    """QueueSize and the areas stand while QueueReady is 1 (4.2.2.2)."""
    await driver.bring_up(PLAIN)
    for register in (mmio.QUEUE_SIZE, mmio.QUEUE_DESC_LOW, mmio.QUEUE_DEVICE_HIGH):
        with pytest.raises(DriverViolation):
            await driver.put(register, 8)


@pytest.mark.parametrize(
    ("register", "value"),
    [
        (mmio.QUEUE_DESC_LOW, 8),
        (mmio.QUEUE_DRIVER_LOW, 1),
        (mmio.QUEUE_DEVICE_LOW, 2),
        (mmio.QUEUE_DESC_HIGH, ALL_ONES),
    ],
)
async def test_bad_areas_are_refused(
    driver: ScriptedDriver, register: Register, value: int
) -> None:
    """A queue that is not aligned, or not in memory, never becomes ready (2.6)."""
    await driver.reset()
    await driver.negotiate(PLAIN)
    await driver.place_queue(0, 8)
    await driver.put(register, value)
    with pytest.raises(DriverViolation):
        await driver.put(mmio.QUEUE_READY, 1)
    assert await driver.get(mmio.QUEUE_READY) == 0


@pytest.mark.parametrize(
    "register", [mmio.QUEUE_DESC_LOW, mmio.QUEUE_DRIVER_LOW, mmio.QUEUE_DEVICE_LOW]
)
async def test_event_suppression_has_to_be_aligned(
    driver: ScriptedDriver, register: Register
) -> None:
    """The areas of a packed queue are aligned to 16, 4 and 4 (2.8.10.1)."""
    await driver.reset()
    await driver.negotiate(PACKED)
    await driver.place_queue(0, 8)
    await driver.put(register, 2)
    with pytest.raises(DriverViolation, match="aligned"):
        await driver.put(mmio.QUEUE_READY, 1)


async def test_a_queue_without_a_size_is_refused(driver: ScriptedDriver) -> None:
    """QueueSize has no default."""
    await driver.reset()
    await driver.negotiate(PLAIN)
    with pytest.raises(DriverViolation):
        await driver.put(mmio.QUEUE_READY, 1)


async def test_a_queue_that_is_not_there(driver: ScriptedDriver) -> None:
    """QueueSizeMax is 0 for it; it can't be set up, but stopping it is harmless."""
    await driver.reset()
    await driver.negotiate(PLAIN)
    await driver.put(mmio.QUEUE_SEL, 2)
    assert await driver.get(mmio.QUEUE_SIZE_MAX) == 0
    assert await driver.get(mmio.QUEUE_READY) == 0
    await driver.put(mmio.QUEUE_READY, 0)
    with pytest.raises(NoSuchQueue):
        await driver.put(mmio.QUEUE_SIZE, 8)


async def test_queue_reset(driver: ScriptedDriver) -> None:
    """A reset queue can be set up anew, elsewhere, while the device stays live (2.6.1)."""
    await driver.bring_up(PLAIN | Feature.VIRTIO_F_RING_RESET)
    await driver.put(mmio.QUEUE_RESET, 1)
    while await driver.get(mmio.QUEUE_RESET):
        pass
    assert await driver.get(mmio.QUEUE_READY) == 0
    await driver.set_up_queue(0, 16)
    assert await driver.get(mmio.QUEUE_RESET) == 0
    assert await driver.request(BlkRequest.read(0, 512)) == (0, bytes(512))


async def test_queue_reset_needs_its_feature(driver: ScriptedDriver) -> None:
    """QueueReset is refused without VIRTIO_F_RING_RESET (4.2.2)."""
    await driver.bring_up(PLAIN)
    with pytest.raises(DriverViolation):
        await driver.put(mmio.QUEUE_RESET, 1)


async def test_a_stopped_queue_reads_back_as_not_ready(driver: ScriptedDriver) -> None:
    """QueueReady reads 0 once the device has let go of the queue; then it can be moved."""
    await driver.bring_up(PLAIN)
    await driver.put(mmio.QUEUE_READY, 0)
    while await driver.get(mmio.QUEUE_READY):
        pass
    await driver.set_up_queue(0, 4)
    assert (await driver.request(BlkRequest.read(1, 512)))[0] == 0


async def test_reset_clears_everything(driver: ScriptedDriver) -> None:
    """After a reset Status, InterruptStatus and QueueReady are 0 (4.2.2.1), features forgotten."""
    await driver.bring_up(PLAIN, queues=2)
    await driver.request(BlkRequest.read(0, 512), queue=1)
    await driver.reset()
    assert await driver.get(mmio.INTERRUPT_STATUS) == 0
    for queue in range(2):
        await driver.put(mmio.QUEUE_SEL, queue)
        assert await driver.get(mmio.QUEUE_READY) == 0
    with pytest.raises(DriverViolation):
        await driver.put(mmio.STATUS, NEGOTIATED)


async def test_a_reset_device_works_again(driver: ScriptedDriver) -> None:
    """A reset is no end: the next driver finds a device like new."""
    for sector in range(3):
        await driver.bring_up(PLAIN)
        expected = sector.to_bytes(8, "little") * 64
        assert await driver.request(BlkRequest.read(sector, 512)) == (0, expected)


async def test_a_broken_ring_needs_a_reset(driver: ScriptedDriver) -> None:
    """A driver that breaks the ring sees DEVICE_NEEDS_RESET, by a config interrupt (2.1.2)."""
    await driver.reset()
    await driver.negotiate(PLAIN)
    _, driver_area, _ = await driver.place_queue(0, 8)
    await driver.put(mmio.QUEUE_READY, 1)
    await driver.go()
    driver.ram.guest_memory.write(driver_area + 2, (9).to_bytes(2, "little"))
    await driver.ring(0, by="mmio")
    config_call = driver.doorbells.config_call
    assert config_call is not None
    await signalled(config_call)
    assert await driver.get(mmio.STATUS) & Status.DEVICE_NEEDS_RESET
    assert await driver.get(mmio.INTERRUPT_STATUS) & mmio.INTERRUPT_CONFIG_CHANGE
    await driver.bring_up(PLAIN)
    assert (await driver.request(BlkRequest.read(0, 512)))[0] == 0


async def test_no_shared_memory_regions(driver: ScriptedDriver) -> None:
    """A disk has none: length and base read as -1 (4.2.2)."""
    await driver.put(mmio.SHM_SEL, 1)
    registers = (mmio.SHM_LEN_LOW, mmio.SHM_LEN_HIGH, mmio.SHM_BASE_LOW, mmio.SHM_BASE_HIGH)
    assert [await driver.get(register) for register in registers] == [ALL_ONES] * 4


async def test_failed_ends_initialisation(driver: ScriptedDriver) -> None:
    """After FAILED only a reset helps (2.1.1)."""
    await driver.reset()
    await driver.put(mmio.STATUS, Status.ACKNOWLEDGE)
    await driver.put(mmio.STATUS, Status.ACKNOWLEDGE | Status.FAILED)
    with pytest.raises(DriverViolation):
        await driver.put(mmio.STATUS, DRIVEN | Status.FAILED)
    await driver.reset()
    assert await driver.negotiate(PLAIN) == NEGOTIATED


@pytest.mark.parametrize(
    ("features", "initial"),
    [
        (PLAIN | BlkFeature.VIRTIO_BLK_F_CONFIG_WCE, 1),
        (Feature.VIRTIO_F_VERSION_1 | BlkFeature.VIRTIO_BLK_F_CONFIG_WCE, 0),
    ],
)
async def test_writeback(driver: ScriptedDriver, features: int, initial: int) -> None:
    """`writeback` starts as 0 without FLUSH (5.2.5.2), and can be changed (5.2.6.1)."""
    await driver.bring_up(features)
    assert await driver.get(blk.WRITEBACK) == initial
    await driver.put(blk.WRITEBACK, 1 - initial)
    assert await driver.get(blk.WRITEBACK) == 1 - initial
    with pytest.raises(BadValue):
        await driver.put(blk.WRITEBACK, 2)
