"""Rings that stop and go on, are disabled, reset, or set up anew."""

from __future__ import annotations

import struct

import pytest

from tests.support.vhost_user.backend import Backend
from tests.support.vhost_user.disk import VhostDisk
from tests.support.vhost_user.front_end import PROTOCOL, FrontEndRing
from virtmesh.vhost_user import messages as vu
from virtmesh.vhost_user.messages import Request
from virtmesh_common.api.trace.v1 import trace_pb2
from virtmesh_common.blk.spec import SECTOR, BlkFeature, RequestStatus, RequestType
from virtmesh_common.virtio.features import Feature
from virtmesh_common.virtio.status import Status

KINDS = {"packed": 0, "split": int(Feature.VIRTIO_F_RING_PACKED)}
"""Kinds of rings, by the feature that is not agreed on."""
OK = RequestStatus.VIRTIO_BLK_S_OK


@pytest.mark.parametrize("without", KINDS.values(), ids=KINDS.keys())
@pytest.mark.parametrize("before", [0, 7, 8, 11, 16])
async def test_a_stopped_ring_goes_on_where_it_was(
    backend: Backend, before: int, without: int
) -> None:
    """GET_VRING_BASE gives the index that SET_VRING_BASE takes; nothing is lost or done twice."""
    async with backend.driven(size=8, without=without) as (front_end, ring):
        disk = VhostDisk(ring)
        for sector in range(before):
            await disk.write(sector, b"a" * SECTOR)
        base = await front_end.stop_ring(ring)
        disk.submit(RequestType.VIRTIO_BLK_T_OUT, 30, b"b" * SECTOR)
        await front_end.set_up_ring(ring, base=base)
        assert await disk.finish(1) == [OK]
        assert backend.model.requests == before + 1


async def test_a_packed_ring_goes_on_behind_a_chain_that_spans_two_laps(backend: Backend) -> None:
    """It stops at base 0, and its first entry was last in the middle of a chain: it is not new."""
    async with backend.driven(size=8, without=Feature.VIRTIO_F_INDIRECT_DESC) as (front_end, ring):
        disk = VhostDisk(ring)
        for sector in range(8):  # three entries each
            await disk.write(sector, b"a" * SECTOR)
        base = await front_end.stop_ring(ring)
        await front_end.set_up_ring(ring, base=base)
        assert await disk.write(8, b"b" * SECTOR) is OK
        assert (base, backend.model.requests) == (0, 9)


async def test_a_packed_ring_may_begin_at_base_0(backend: Backend) -> None:
    """User-mode Linux sets base 0 for a ring that it has just made."""
    async with backend.ready() as front_end:
        ring = FrontEndRing.make(0, front_end.ram, 64, front_end.features)
        front_end.rings.append(ring)
        await front_end.set_up_ring(ring, base=0)
        assert await VhostDisk(ring).write(0, b"z" * SECTOR) is OK


async def test_a_disabled_ring_waits(backend: Backend) -> None:
    """What is added while a ring is disabled is done when it is enabled."""
    async with backend.driven() as (front_end, ring):
        disk = VhostDisk(ring)
        await front_end.tell(Request.SET_VRING_ENABLE, vu.VringState(0, 0))
        disk.submit(RequestType.VIRTIO_BLK_T_OUT, 0, b"c" * SECTOR)
        before = backend.model.requests
        await front_end.tell(Request.SET_VRING_ENABLE, vu.VringState(0, 1))
        assert await disk.finish(1) == [OK]
        assert (before, backend.model.requests) == (0, 1)


@pytest.mark.parametrize("without", KINDS.values(), ids=KINDS.keys())
async def test_a_disabled_ring_can_be_set_up_anew(backend: Backend, without: int) -> None:
    """Some front ends only disable rings when the guest resets the device, and stop none."""
    async with backend.ready(without) as front_end:
        await front_end.take_logs()
        first = VhostDisk(await front_end.start_ring())
        for sector in range(5):
            await first.write(sector, b"j" * SECTOR)
        await front_end.tell(Request.SET_VRING_ENABLE, vu.VringState(0, 0))
        front_end.features &= ~int(Feature.VIRTIO_F_EVENT_IDX)
        await front_end.tell(Request.SET_FEATURES, vu.U64(front_end.features))
        await front_end.give_logs()
        second = VhostDisk(await front_end.start_ring(size=32))
        assert await second.read(4) == b"j" * SECTOR


async def test_reset_owner_disables_every_ring(backend: Backend) -> None:
    """It is what the protocol recommends of this message, which nobody should send."""
    async with backend.driven() as (front_end, ring):
        disk = VhostDisk(ring)
        await front_end.tell(Request.RESET_OWNER)
        disk.submit(RequestType.VIRTIO_BLK_T_OUT, 0, b"k" * SECTOR)
        before = backend.model.requests
        await front_end.tell(Request.SET_VRING_ENABLE, vu.VringState(0, 1))
        assert await disk.finish(1) == [OK]
        assert before == 0


async def test_a_ring_may_be_enabled_before_it_is_started(backend: Backend) -> None:
    """It is served as soon as it is both."""
    async with backend.ready() as front_end:
        await front_end.tell(Request.SET_VRING_ENABLE, vu.VringState(0, 1))
        assert await VhostDisk(await front_end.start_ring()).write(0, b"l" * SECTOR) is OK


@pytest.mark.parametrize("request_", [Request.RESET_DEVICE, Request.SET_STATUS])
async def test_a_reset_stops_all_and_the_device_can_be_set_up_anew(
    backend: Backend, request_: Request
) -> None:
    """RESET_DEVICE, and a status of 0, return the device to its initial state."""
    async with backend.driven() as (front_end, ring):
        disk = VhostDisk(ring)
        await disk.write(0, b"d" * SECTOR)
        payload = vu.U64(0) if request_ is Request.SET_STATUS else b""
        await front_end.tell(request_, payload)
        assert backend.device.state.driver_features == 0
        await front_end.tell(Request.SET_FEATURES, vu.U64(front_end.features))
        again = VhostDisk(await front_end.start_ring())
        assert await again.read(0) == b"d" * SECTOR


async def test_a_reset_forgets_where_rings_went_on(backend: Backend) -> None:
    """A ring that is described afterwards without SET_VRING_BASE begins as a new one."""
    async with backend.driven(without=KINDS["split"]) as (front_end, ring):
        await VhostDisk(ring).write(0, b"m" * SECTOR)
        await front_end.tell(Request.RESET_DEVICE)
        await front_end.tell(Request.SET_FEATURES, vu.U64(front_end.features))
        again = FrontEndRing.make(0, front_end.ram, 64, front_end.features)
        front_end.rings.append(again)
        await front_end.set_up_ring(again, base=None)
        assert await VhostDisk(again).read(0) == b"m" * SECTOR


async def test_other_features_can_be_agreed_on_while_no_ring_is_started(backend: Backend) -> None:
    """Firmware and kernel drive one device in turn, each with its own features."""
    async with backend.driven() as (front_end, ring):
        await front_end.stop_ring(ring)
        front_end.features &= ~int(Feature.VIRTIO_F_EVENT_IDX | BlkFeature.VIRTIO_BLK_F_FLUSH)
        await front_end.tell(Request.SET_FEATURES, vu.U64(front_end.features))
        disk = VhostDisk(await front_end.start_ring())
        assert await disk.write(0, b"e" * SECTOR) is OK
        assert not backend.model.disk.write_back


async def test_the_status_is_kept_and_told(backend: Backend) -> None:
    """GET_STATUS and GetStatus say what SET_STATUS said; FEATURES_OK needs features."""
    wanted = Status.ACKNOWLEDGE | Status.DRIVER | Status.FEATURES_OK
    async with backend.connected() as front_end:
        protocol = await front_end.ask_u64(Request.GET_PROTOCOL_FEATURES)
        await front_end.tell(Request.SET_PROTOCOL_FEATURES, vu.U64(protocol & PROTOCOL))
        front_end.protocol = PROTOCOL
        await front_end.tell(Request.SET_STATUS, vu.U64(wanted))
        early = await front_end.ask_u64(Request.GET_STATUS)
        await front_end.negotiate()
        await front_end.tell(Request.SET_STATUS, vu.U64(wanted))
        late = await front_end.ask_u64(Request.GET_STATUS)
        assert backend.device.state.device_status == wanted
    assert (early, late) == (wanted & ~Status.FEATURES_OK, wanted)


async def test_status_and_resets_are_recorded(backend: Backend) -> None:
    """The flight recorder tells the course of a front end as it tells that of a driver."""
    recorder = backend.model.interrupt.recorder
    async with backend.connected() as front_end:
        await front_end.negotiate()
        begin = recorder.next
        for status in (1, 3, 11, 15, 0):
            await front_end.tell(Request.SET_STATUS, vu.U64(status))
        _, _, (_, kinds, _, _, _, values, before), _ = recorder.read(begin, 16)
    course = zip(kinds, struct.unpack("<5Q", values), struct.unpack("<5Q", before), strict=True)
    steps = [(trace_pb2.EVENT_KIND_STATUS, *step) for step in ((1, 0), (3, 1), (11, 3), (15, 11))]
    assert list(course) == [*steps, (trace_pb2.EVENT_KIND_RESET, 0, 0)]
