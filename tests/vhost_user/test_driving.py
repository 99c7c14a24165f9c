"""A front end drives a disk: features, configuration, rings, doorbells, resets."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from dataclasses import astuple
from pathlib import Path

import pytest

from tests.support.vhost_user.backend import MIB, QUEUES, Backend, serve
from tests.support.vhost_user.disk import VhostDisk
from tests.support.vhost_user.front_end import (
    PROTOCOL,
    WAIT_SECONDS,
    FrontEndRam,
    FrontEndRing,
    RequestFailed,
)
from virtmesh.attach.asyncfd import readable
from virtmesh.vhost_user import messages as vu
from virtmesh.vhost_user.messages import BackendRequest, ProtocolFeature, Request
from virtmesh.vhost_user.vrings import POLL_SECONDS
from virtmesh_common.blk.spec import SECTOR, RequestStatus, RequestType
from virtmesh_common.virtio.features import Feature
from virtmesh_common.virtio.status import Status

KINDS = {"packed": 0, "split": int(Feature.VIRTIO_F_RING_PACKED)}
"""Kinds of rings, by the feature that is not agreed on."""
OK = RequestStatus.VIRTIO_BLK_S_OK
CONFIG_WRITEBACK = 32
"""Offset of `writeback` (5.2.4)."""


async def test_what_is_written_is_on_the_image(backend: Backend) -> None:
    """Data goes from the front end's memory to the image and back."""
    data = os.urandom(4096)
    async with backend.driven() as (_, ring):
        disk = VhostDisk(ring)
        assert await disk.write(8, data) is OK
        assert await disk.flush() is OK
        assert await disk.read(8, 4096) == data
    image = backend.folder / "disk.img"
    assert image.read_bytes()[8 * SECTOR :][:4096] == data


async def test_why_a_request_of_a_guest_failed_is_logged_and_counted(
    backend: Backend, capsys: pytest.CaptureFixture[str]
) -> None:
    """A front end can't ask; who runs the disk sees the cause, as for any other driver."""
    image = backend.folder / "disk.img"
    backend.model.watch.start()
    async with backend.driven() as (_, ring):
        os.truncate(image, 4096)
        assert await VhostDisk(ring).write(64, bytes(512)) is RequestStatus.VIRTIO_BLK_S_IOERR
    assert backend.model.disk.failure_counts()["OUT"] == {"TRUNCATED": 1}
    backend.model.watch.stop()
    await asyncio.to_thread(backend.model.watch.join)
    told = capsys.readouterr().out
    for fact in ("a request failed", "cause=TRUNCATED", "sector=64", "type=OUT", str(image)):
        assert fact in told


async def test_features_without_messages_for_them_are_withheld(backend: Backend) -> None:
    """RING_RESET needs a register of its own; all else that the disk has is offered."""
    async with backend.connected() as front_end:
        offered = await front_end.ask_u64(Request.GET_FEATURES)
    bits = vu.VHOST_USER_F_PROTOCOL_FEATURES | Feature.VIRTIO_F_RING_RESET
    assert offered ^ int(bits) == backend.model.device_features


@pytest.mark.parametrize(
    "without",
    [
        0,
        Feature.VIRTIO_F_EVENT_IDX,
        Feature.VIRTIO_F_INDIRECT_DESC,
        vu.VHOST_USER_F_PROTOCOL_FEATURES,
        Feature.VIRTIO_F_RING_PACKED,
        Feature.VIRTIO_F_RING_PACKED | Feature.VIRTIO_F_EVENT_IDX,
    ],
    ids=["all", "no event index", "no indirect", "always enabled", "split", "plain split"],
)
async def test_a_disk_works_with_any_features(backend: Backend, without: int) -> None:
    """Features of the rings are the front end's choice; so is enabling rings."""
    async with backend.connected() as front_end:
        await front_end.negotiate(without=without)
        await front_end.share()
        disk = VhostDisk(await front_end.start_ring())
        assert await disk.write(1, b"x" * SECTOR) is OK


async def test_features_may_be_told_piece_by_piece(backend: Backend) -> None:
    """It is how crosvm does it: the protocol's own first, then 32 bits at a time."""
    async with backend.connected() as front_end:
        await front_end.tell(Request.SET_FEATURES, vu.U64(vu.VHOST_USER_F_PROTOCOL_FEATURES))
        await front_end.negotiate()
        low = front_end.features & 0xFFFF_FFFF
        await front_end.tell(Request.SET_FEATURES, vu.U64(low))
        assert backend.device.state.driver_features == 0
        await front_end.tell(Request.SET_FEATURES, vu.U64(front_end.features))
        await front_end.share()
        assert await VhostDisk(await front_end.start_ring()).write(0, b"n" * SECTOR) is OK


async def test_without_reply_ack_nothing_is_answered_that_need_not_be(backend: Backend) -> None:
    """The first answer after many messages is that of the first question."""
    async with backend.connected() as front_end:
        await front_end.negotiate(protocol=PROTOCOL & ~ProtocolFeature.REPLY_ACK)
        await front_end.share()
        await front_end.start_ring()
        front_end.post(Request.SET_OWNER, flags=vu.NEED_REPLY)
        assert await front_end.ask_u64(Request.GET_QUEUE_NUM) == QUEUES


@pytest.mark.parametrize("without", KINDS.values(), ids=KINDS.keys())
@pytest.mark.parametrize("size", [4, 1024, 32768])
async def test_rings_have_the_size_that_the_front_end_chooses(
    backend: Backend, size: int, without: int
) -> None:
    """Whatever the device's own driver would choose."""
    async with backend.driven(size=size, without=without) as (_, ring):
        disk = VhostDisk(ring)
        for sector in range(5):
            assert await disk.write(sector, bytes([sector]) * SECTOR) is OK
        assert await disk.read(4) == bytes([4]) * SECTOR


async def test_a_packed_ring_may_have_any_size(backend: Backend) -> None:
    """It need not be a power of two (virtio 1.4, 2.8.10.1)."""
    async with backend.driven(size=5) as (_, ring):
        disk = VhostDisk(ring)
        for sector in range(9):
            assert await disk.write(sector, bytes([sector]) * SECTOR) is OK


async def test_sixteen_rings_work_at_once(backend: Backend) -> None:
    """Each ring has its own doorbells, and completes its own requests."""
    async with backend.ready() as front_end:
        disks = [VhostDisk(await front_end.start_ring(n, 16), slots=4) for n in range(QUEUES)]
        for number, disk in enumerate(disks):
            disk.submit(RequestType.VIRTIO_BLK_T_OUT, number, bytes([number]) * SECTOR)
        assert await asyncio.gather(*(disk.finish(1) for disk in disks)) == [[OK]] * QUEUES
        found = [await disk.read(number) for number, disk in enumerate(disks)]
    assert found == [bytes([number]) * SECTOR for number in range(QUEUES)]


# -- Configuration space --------------------------------------------------------------------------


async def test_the_configuration_is_read_in_any_pieces(backend: Backend) -> None:
    """Offsets and sizes need not be those of fields; behind the last field there are zeroes."""
    async with backend.connected() as front_end:
        await front_end.negotiate()
        whole = await front_end.read_config(0, 256)
        assert struct.unpack_from("<Q", whole)[0] == MIB // SECTOR
        assert await front_end.read_config(3, 50) == whole[3:53]
        assert whole[64:] == bytes(192)


async def test_the_cache_mode_is_written(backend: Backend) -> None:
    """SET_CONFIG writes `writeback`."""
    async with backend.connected() as front_end:
        await front_end.negotiate()
        await front_end.tell(Request.SET_CONFIG, vu.Config(CONFIG_WRITEBACK, 0, b"\x00"))
        assert not backend.model.disk.write_back


@pytest.mark.parametrize(
    ("offset", "content"),
    [(0, bytes(8)), (CONFIG_WRITEBACK, b"\x02"), (200, b"\x00")],
    ids=["read-only", "no value of it", "no field"],
)
async def test_a_refused_write_of_the_configuration_is_answered_and_survived(
    backend: Backend, offset: int, content: bytes
) -> None:
    """The answer says that it failed, nothing is changed, and the connection goes on."""
    async with backend.connected() as front_end:
        await front_end.negotiate()
        with pytest.raises(RequestFailed):
            await front_end.tell(Request.SET_CONFIG, vu.Config(offset, 0, content))
        assert backend.model.disk.write_back
        assert await front_end.ask_u64(Request.GET_QUEUE_NUM) == QUEUES


async def test_a_write_of_the_configuration_that_is_for_nothing_known_is_refused(
    backend: Backend,
) -> None:
    """Its flags say what it is for: the driver's write, or a migration."""
    async with backend.connected() as front_end:
        await front_end.negotiate()
        with pytest.raises(RequestFailed):
            await front_end.tell(Request.SET_CONFIG, vu.Config(CONFIG_WRITEBACK, 2, b"\x00"))
        assert backend.model.disk.write_back


async def test_a_live_resize_is_told_and_read(backend: Backend) -> None:
    """The owner resizes; the front end hears of it and reads the new capacity."""
    async with backend.driven() as (front_end, _):
        await front_end.take_requests()
        backend.model.resize(2 * MIB, allow_shrink=False)
        backend.model.announce_change()
        message = await front_end.next_request()
        assert message.request == BackendRequest.CONFIG_CHANGE_MSG
        capacity = struct.unpack("<Q", await front_end.read_config(0, 8))[0]
    assert capacity == 2 * MIB // SECTOR


# -- Memory ---------------------------------------------------------------------------------------


async def test_regions_are_added_and_removed_while_a_ring_runs(backend: Backend) -> None:
    """A request may lie in a region that came later; one that is gone is no longer needed."""
    more = FrontEndRam(MIB, 0x9000_0000, 0x7E00_0000_0000, offset=8192)
    region = vu.SingleRegion(0, *astuple(more.region))
    async with backend.driven() as (front_end, ring):
        await front_end.tell(Request.ADD_MEM_REG, region, [more.descriptor])
        disk = VhostDisk(ring)
        assert await disk.write(0, b"f" * SECTOR) is OK
        await front_end.tell(Request.REM_MEM_REG, region)
        assert await disk.read(0) == b"f" * SECTOR
    more.close()


async def test_memory_can_be_taken_away_with_requests_in_flight(backend: Backend) -> None:
    """What was taken is finished before the answer; the rest waits until memory is there again."""
    async with backend.driven() as (front_end, ring):
        disk = VhostDisk(ring)
        for sector in range(20):
            disk.submit(RequestType.VIRTIO_BLK_T_OUT, sector, bytes([sector]) * SECTOR)
        region = vu.SingleRegion(0, *astuple(front_end.ram.region))
        await front_end.tell(Request.REM_MEM_REG, region)
        assert backend.model.disk.in_flight == 0
        await front_end.tell(Request.ADD_MEM_REG, region, [front_end.ram.descriptor])
        assert await disk.finish(20) == [OK] * 20
        assert backend.model.requests == 20


# -- Eventfds --------------------------------------------------------------------------------------


async def test_a_ring_with_a_kick_descriptor_is_not_polled(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody looks at it between two kicks: an idle disk costs nothing."""
    looks: list[int] = []
    monkeypatch.setattr(backend.model, "kick", looks.append)
    async with backend.driven():
        await asyncio.sleep(3 * POLL_SECONDS)  # Timers fire in order: a look would come first.
    assert looks == []


async def test_a_ring_without_a_kick_descriptor_is_polled(backend: Backend) -> None:
    """Bit 8 of SET_VRING_KICK says that there is none."""
    async with backend.driven() as (front_end, ring):
        await front_end.stop_ring(ring)
        await front_end.tell(Request.SET_VRING_KICK, vu.U64(vu.INVALID_FD))
        assert await VhostDisk(ring).write(0, b"g" * SECTOR) is OK


async def test_a_call_may_be_a_stream_socket(backend: Backend) -> None:
    """User-mode Linux waits for sockets: each call is eight bytes."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours, theirs:
        async with backend.driven() as (front_end, ring):
            await front_end.tell(Request.SET_VRING_CALL, vu.U64(0), [theirs.fileno()])
            VhostDisk(ring).submit(RequestType.VIRTIO_BLK_T_FLUSH, 0)
            async with asyncio.timeout(WAIT_SECONDS):
                await readable(ours.fileno())
            assert ours.recv(64) == (1).to_bytes(8, "little")


async def test_a_broken_ring_is_told_and_needs_a_reset(backend: Backend) -> None:
    """The error eventfd is signalled, the status says so, and after a reset all is well."""
    async with backend.driven(without=KINDS["split"]) as (front_end, ring):
        front_end.ram.memory.write(ring.layout.driver_area + 2, b"\xff\xff")  # avail.idx
        os.eventfd_write(ring.kick, 1)
        async with asyncio.timeout(WAIT_SECONDS):
            await readable(ring.error)
        status = await front_end.ask_u64(Request.GET_STATUS)
        assert status & Status.DEVICE_NEEDS_RESET
        assert "available index" in backend.device.state.fault
        await front_end.tell(Request.RESET_DEVICE)
        await front_end.tell(Request.SET_FEATURES, vu.U64(front_end.features))
        assert await VhostDisk(await front_end.start_ring()).write(0, b"h" * SECTOR) is OK


async def test_in_band_notifications_replace_all_descriptors(tmp_path: Path) -> None:
    """With them kicks and calls are messages, and each call is answered before the next."""
    async with serve(tmp_path, in_band=True) as backend, backend.connected() as front_end:
        await front_end.negotiate(protocol=PROTOCOL | ProtocolFeature.INBAND_NOTIFICATIONS)
        await front_end.take_requests()
        await front_end.share()
        ring = FrontEndRing.make(0, front_end.ram, 16, front_end.features)
        front_end.rings.append(ring)
        await front_end.tell(Request.SET_VRING_NUM, vu.VringState(0, 16))
        await front_end.tell(Request.SET_VRING_ADDR, ring.areas)
        await front_end.tell(Request.SET_VRING_ENABLE, vu.VringState(0, 1))
        disk = VhostDisk(ring)
        disk.submit(RequestType.VIRTIO_BLK_T_OUT, 0, b"i" * SECTOR)
        await front_end.tell(Request.VRING_KICK, vu.VringState(0, 0))
        calls = [await front_end.next_request()]
        while not ring.queue.can_pop():
            calls.append(await front_end.next_request())
        assert await disk.finish(1) == [OK]
    assert {call.request for call in calls} == {BackendRequest.VRING_CALL}
