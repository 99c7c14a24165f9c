"""The in-flight log, message by message: who makes it, what is refused, when it counts."""

from __future__ import annotations

import fcntl
import os
from dataclasses import replace

import pytest
from virtmesh_native import (
    DeviceQueue,
    DriverQueue,
    FrontEndMemory,
    InFlightLog,
    Interrupt,
    QueueConfig,
)

from tests.support.native_rig import BASE, DATA, QUEUE_SIZE, make_memory
from tests.support.vhost_user.backend import MIB, QUEUES, Backend, Reasons
from tests.support.vhost_user.disk import VhostDisk
from tests.support.vhost_user.front_end import (
    PROTOCOL,
    ConnectionLost,
    FrontEndRing,
    VhostFrontEnd,
)
from virtmesh.input.event_buffers import EventBuffers
from virtmesh.vhost_user import messages as vu
from virtmesh.vhost_user.messages import ProtocolFeature, Request
from virtmesh.virtio.queue_device import QueueCounters, ServedQueue
from virtmesh_common.blk.spec import SECTOR, RequestStatus, RequestType
from virtmesh_common.input.spec import EVENT, EVENTQ
from virtmesh_common.virtio.features import Feature

KINDS = {"packed": 0, "split": int(Feature.VIRTIO_F_RING_PACKED)}
"""Kinds of rings, by the feature that is not agreed on."""
OK = RequestStatus.VIRTIO_BLK_S_OK


async def test_the_log_is_a_file_that_nobody_can_make_shorter(backend: Backend) -> None:
    """It has room for every ring, in whole pages, and is sealed."""
    async with backend.ready() as front_end:
        await front_end.take_logs(rings=3, size=256)
        assert front_end.logs is not None
        description, descriptor = front_end.logs
        size = os.fstat(descriptor).st_size
        seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
    needed = 3 * InFlightLog.length(256, packed=True)
    assert description == vu.Inflight(size, 0, 3, 256)
    assert 0 <= size - needed < 4096
    assert seals & fcntl.F_SEAL_SHRINK


@pytest.mark.parametrize("without", KINDS.values(), ids=KINDS.keys())
async def test_a_front_end_that_comes_again_goes_on(backend: Backend, without: int) -> None:
    """Its connection ended, and nobody was killed: nothing is lost, nothing answered twice."""
    async with backend.ready(without) as front_end:
        await front_end.take_logs()
        disk = VhostDisk(await front_end.start_ring())
        for sector in range(20):
            disk.submit(RequestType.VIRTIO_BLK_T_OUT, sector, bytes([sector]) * SECTOR)
        await front_end.reconnect(backend.path)
        assert await disk.finish(20) == [OK] * 20
        assert await disk.read(19) == bytes([19]) * SECTOR
        assert disk.under_way == 0


@pytest.mark.parametrize("without", KINDS.values(), ids=KINDS.keys())
async def test_a_ring_that_was_stopped_begins_from_its_base(backend: Backend, without: int) -> None:
    """After GET_VRING_BASE the base counts, be it of another ring in the same place of the log."""
    async with backend.ready(without) as front_end:
        await front_end.take_logs()
        first = await front_end.start_ring()
        disk = VhostDisk(first)
        for sector in range(5):
            await disk.write(sector, b"a" * SECTOR)
        base = await front_end.stop_ring(first)
        await front_end.set_up_ring(first, base=base)
        assert await disk.read(4) == b"a" * SECTOR
        await front_end.stop_ring(first)
        second = VhostDisk(await front_end.start_ring())
        assert await second.read(4) == b"a" * SECTOR


@pytest.mark.parametrize("without", KINDS.values(), ids=KINDS.keys())
async def test_a_log_outlives_a_ring_that_is_stopped_before_it_was_served(
    backend: Backend, without: int
) -> None:
    """What an earlier back end took is still in flight then: the log says so, and no base can."""
    async with backend.ready(without) as front_end:
        await front_end.take_logs()
        ring = FrontEndRing.make(0, front_end.ram, 64, front_end.features)
        front_end.rings.append(ring)
        disk = VhostDisk(ring)
        for sector in range(3):
            disk.submit(RequestType.VIRTIO_BLK_T_OUT, sector, bytes([sector]) * SECTOR)
        use_second_of_three(front_end, ring)
        assert await disk.finish(1) == [OK]
        await front_end.describe_ring(ring, base=1)
        base = await front_end.stop_ring(ring)
        await front_end.set_up_ring(ring, base=base)
        assert await disk.finish(2) == [OK] * 2
        assert backend.model.requests == 2


def use_second_of_three(front_end: VhostFrontEnd, ring: FrontEndRing) -> None:
    """Be a back end that takes three requests, completes the second, and is killed then."""
    assert front_end.logs is not None
    description, descriptor = front_end.logs
    log = FrontEndMemory([(descriptor, 0, description.mmap_size, description.mmap_offset)])
    config = QueueConfig(
        size=ring.layout.size,
        descriptor_area=ring.layout.descriptor_area,
        driver_area=ring.layout.driver_area,
        device_area=ring.layout.device_area,
        event_idx=True,
        indirect=True,
        packed=bool(front_end.features & Feature.VIRTIO_F_RING_PACKED),
        log=InFlightLog(log.guest_memory, 0, description.queue_size),
    )
    queue = DeviceQueue(ring.ram.memory, config)
    _, second, _ = queue.pop(), queue.pop(), queue.pop()
    assert second is not None
    head, _, writable = second
    ring.ram.memory.write(writable[-1][0], bytes([OK]))
    queue.push(head, 1)


async def test_memory_may_change_while_a_log_is_kept(backend: Backend) -> None:
    """Rings stop and go on meanwhile."""
    async with backend.ready() as front_end:
        await front_end.take_logs()
        disk = VhostDisk(await front_end.start_ring())
        assert await disk.write(0, b"b" * SECTOR) is OK
        await front_end.share()
        assert await disk.read(0) == b"b" * SECTOR


async def test_a_ring_without_a_log_of_its_own_is_served(backend: Backend) -> None:
    """A front end may keep logs for some rings only."""
    async with backend.ready() as front_end:
        await front_end.take_logs(rings=1)
        disk = VhostDisk(await front_end.start_ring(1))
        assert await disk.write(0, b"c" * SECTOR) is OK


@pytest.mark.parametrize("packed", [True, False], ids=KINDS.keys())
def test_buffers_for_events_are_at_hand_again(*, packed: bool) -> None:
    """A device that holds buffers is gone; the next one fills those that were not given back."""
    memory, shared = make_memory(), make_memory()
    config = QueueConfig(
        size=QUEUE_SIZE,
        descriptor_area=BASE,
        driver_area=BASE + 4096,
        device_area=BASE + 8192,
        event_idx=True,
        indirect=False,
        packed=packed,
        log=InFlightLog(shared, BASE, QUEUE_SIZE),
    )
    driver = DriverQueue(memory, config)
    tokens = [driver.add([], [(DATA + 8 * number, EVENT.size)]) for number in range(4)]

    def serve() -> EventBuffers:
        queue = ServedQueue(EVENTQ, memory, config, Interrupt(), QueueCounters())
        return EventBuffers(queue, QUEUE_SIZE)

    first = serve()
    assert first.take(9) == 4
    first.write([EVENT.pack(1, 30, 1)])
    second = serve()
    assert second.take(9) == 3
    second.write([EVENT.pack(1, 30 + number, 1) for number in range(1, 4)])
    assert driver.pop_used() == [(token, EVENT.size) for token in tokens]
    assert EVENT.unpack(memory.read(DATA + 24, EVENT.size)) == (1, 33, 1)


# -- What is refused ------------------------------------------------------------------------------

LOG = vu.Inflight(MIB, 0, 1, 64)
BAD_LOGS = {
    "no ring": (replace(LOG, num_queues=0), "the device has 16"),
    "too many rings": (replace(LOG, num_queues=QUEUES + 1), "the device has 16"),
    "no entry": (replace(LOG, queue_size=0), "0 entries"),
    "too many entries": (replace(LOG, queue_size=32769), "32769 entries"),
    "no size": (replace(LOG, mmap_size=0), "is empty"),
    "odd offset": (replace(LOG, mmap_offset=100), "not a multiple of 4096"),
    "beyond the file": (replace(LOG, mmap_offset=1 << 40), "needs a file"),
    "offset that overflows": (replace(LOG, mmap_offset=(1 << 64) - 4096), "too large"),
}


@pytest.mark.parametrize(("log", "reason"), BAD_LOGS.values(), ids=BAD_LOGS.keys())
async def test_a_log_that_can_not_be_ends_the_connection(
    backend: Backend, reasons: Reasons, log: vu.Inflight, reason: str
) -> None:
    """Numbers, size and offset are checked before anything is mapped."""
    async with backend.ready() as front_end:
        front_end.post(Request.SET_INFLIGHT_FD, log, [front_end.ram.descriptor])
        assert await front_end.lost()
    assert reason in reasons()
    assert await backend.works()


async def test_a_log_that_is_cut_off_ends_the_connection(
    backend: Backend, reasons: Reasons
) -> None:
    """A ring starts with all of its log, or not at all."""
    async with backend.ready() as front_end:
        short = replace(LOG, mmap_size=100)
        await front_end.tell(Request.SET_INFLIGHT_FD, short, [front_end.ram.descriptor])
        await refused_ring(front_end)
    assert "ends behind its 100 bytes" in reasons()
    assert await backend.works()


async def test_a_log_for_more_rings_than_there_are_is_not_made(
    backend: Backend, reasons: Reasons
) -> None:
    """A request for one ends the connection."""
    async with backend.ready() as front_end:
        front_end.post(Request.GET_INFLIGHT_FD, replace(LOG, num_queues=0xFFFF))
        assert await front_end.lost()
    assert "65535 rings" in reasons()


async def test_a_log_has_to_be_agreed_on(backend: Backend, reasons: Reasons) -> None:
    """INFLIGHT_SHMFD is a protocol feature."""
    async with backend.connected() as front_end:
        await front_end.negotiate(protocol=PROTOCOL & ~ProtocolFeature.INFLIGHT_SHMFD)
        front_end.post(Request.GET_INFLIGHT_FD, LOG)
        assert await front_end.lost()
    assert "without INFLIGHT_SHMFD" in reasons()


async def test_a_log_can_not_come_while_a_ring_is_started(
    backend: Backend, reasons: Reasons
) -> None:
    """It would not know what is in flight."""
    async with backend.driven() as (front_end, _):
        front_end.post(Request.SET_INFLIGHT_FD, LOG, [front_end.ram.descriptor])
        assert await front_end.lost()
    assert "a ring is started" in reasons()


async def test_a_ring_longer_than_its_log_ends_the_connection(
    backend: Backend, reasons: Reasons
) -> None:
    """Its log has no room for what may be in flight."""
    async with backend.ready() as front_end:
        await front_end.take_logs(size=32)
        await refused_ring(front_end)
    assert "room for 32 descriptors, the queue size is 64" in reasons()
    assert await backend.works()


@pytest.mark.parametrize("without", KINDS.values(), ids=KINDS.keys())
async def test_a_log_with_other_content_ends_the_connection(
    backend: Backend, reasons: Reasons, without: int
) -> None:
    """What is in it is checked when a ring starts."""
    async with backend.ready(without) as front_end:
        await front_end.take_logs()
        assert front_end.logs is not None
        os.pwrite(front_end.logs[1], b"\x07", 8)  # version
        await refused_ring(front_end)
    assert "its version is not 1" in reasons()
    assert await backend.works()


async def test_a_log_file_that_becomes_shorter_ends_the_connection(
    backend: Backend, reasons: Reasons
) -> None:
    """A front end may bring a file of its own; SIGBUS does not kill the service."""
    async with backend.ready() as front_end:
        own = os.memfd_create("log")
        os.ftruncate(own, MIB)
        front_end.logs = (LOG, own)
        await front_end.give_logs()
        disk = VhostDisk(await front_end.start_ring())
        await disk.flush()
        os.ftruncate(own, 0)
        disk.submit(RequestType.VIRTIO_BLK_T_FLUSH, 0)
        assert await front_end.lost()
    assert "in-flight log was made shorter" in reasons()
    assert await backend.works()


async def refused_ring(front_end: VhostFrontEnd) -> None:
    """Start a ring, which costs the connection."""
    with pytest.raises(ConnectionLost):
        await front_end.start_ring()
