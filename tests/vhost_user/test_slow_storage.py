"""Rings that stop while the storage does not answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.storage_gate import HeldCall, StorageGate, gated
from tests.support.vhost_user.backend import Backend, serve
from tests.support.vhost_user.disk import VhostDisk
from tests.support.vhost_user.front_end import FrontEndRing
from virtmesh.blk.model import BlkModel, BlkOptions
from virtmesh.vhost_user import messages as vu
from virtmesh.vhost_user.messages import Request
from virtmesh.virtio.quirks import NO_VERSION_1
from virtmesh_common.blk.spec import SECTOR, RequestStatus, RequestType
from virtmesh_common.virtio.features import Feature

KINDS = {"packed": 0, "split": int(Feature.VIRTIO_F_RING_PACKED)}
"""Kinds of rings, by the feature that is not agreed on."""
OK = RequestStatus.VIRTIO_BLK_S_OK
BOUND = 10.0
"""In which a ring stops on a loaded host, in seconds. Who waits for the storage waits for the test,
longer."""
A_WHILE = 0.2
"""How long it is looked whether a ring stops that must not, in seconds."""


class Slow:
    """A disk whose flushes end when the test says so."""

    backend: Backend
    gate: StorageGate

    def make(self, options: BlkOptions) -> BlkModel:
        """Make the model behind a gate."""
        model, self.gate = gated(lambda: BlkModel("vda", options), "fdatasync")
        return model

    async def flushing(self, disk: VhostDisk) -> HeldCall:
        """Begin a flush, and wait until it is in the storage."""
        disk.submit(RequestType.VIRTIO_BLK_T_FLUSH, 0)
        return await asyncio.to_thread(self.gate.next)


@pytest.fixture
async def slow(tmp_path: Path) -> AsyncIterator[Slow]:
    """Serve the disk."""
    slow = Slow()
    async with serve(tmp_path, make=slow.make) as slow.backend:
        yield slow
        slow.gate.open()


@pytest.mark.parametrize("request_", [Request.RESET_DEVICE, Request.SET_STATUS])
async def test_a_reset_does_not_wait_for_a_flush(slow: Slow, request_: Request) -> None:
    """What the flush brings afterwards, nobody sees."""
    async with slow.backend.driven() as (front_end, ring):
        disk = VhostDisk(ring)
        held = await slow.flushing(disk)
        begun = time.monotonic()
        payload = vu.U64(0) if request_ is Request.SET_STATUS else b""
        await front_end.tell(request_, payload)
        assert time.monotonic() - begun < BOUND
        held.let_go()
        slow.gate.open()
        await front_end.tell(Request.SET_FEATURES, vu.U64(front_end.features))
        again = VhostDisk(await front_end.start_ring())
        assert await again.flush() is OK
        assert disk.under_way == 1


async def test_a_front_end_that_goes_does_not_keep_the_device(slow: Slow) -> None:
    """The next one is served while the flush of the first is under way."""
    async with slow.backend.driven() as (_, ring):
        held = await slow.flushing(VhostDisk(ring))
    begun = time.monotonic()
    await slow.backend.free()
    assert time.monotonic() - begun < BOUND
    assert await slow.backend.works()
    held.let_go()


@pytest.mark.parametrize("without", KINDS.values(), ids=KINDS.keys())
async def test_a_flush_stays_in_the_log_when_its_ring_stops(slow: Slow, without: int) -> None:
    """GET_VRING_BASE is answered at once, and the flush is done when the ring goes on."""
    async with slow.backend.ready(without) as front_end:
        await front_end.take_logs()
        ring = await front_end.start_ring()
        disk = VhostDisk(ring)
        assert await disk.write(0, b"a" * SECTOR) is OK
        held = await slow.flushing(disk)
        disk.submit(RequestType.VIRTIO_BLK_T_OUT, 1, b"b" * SECTOR)
        begun = time.monotonic()
        base = await front_end.stop_ring(ring)
        assert time.monotonic() - begun < BOUND
        held.let_go()
        slow.gate.open()
        await front_end.set_up_ring(ring, base=base)
        assert await disk.finish(2) == [OK, OK]
        assert await disk.read(1) == b"b" * SECTOR


async def test_what_is_left_in_the_log_is_not_done_on_another_ring(slow: Slow) -> None:
    """A guest that is reset makes new rings, and its front end may keep the log."""
    async with slow.backend.ready(KINDS["split"]) as front_end:
        await front_end.take_logs()
        ring = await front_end.start_ring()
        held = await slow.flushing(VhostDisk(ring))
        await front_end.stop_ring(ring)
        held.let_go()
        slow.gate.open()
        before = slow.backend.model.requests
        again = VhostDisk(await front_end.start_ring())
        assert await again.write(0, b"c" * SECTOR) is OK
        assert slow.backend.model.requests == before + 1


async def test_a_ring_that_begins_after_a_reset_does_nothing_that_was_left(slow: Slow) -> None:
    """Whether or not its front end says where it begins."""
    async with slow.backend.ready() as front_end:
        await front_end.take_logs()
        ring = await front_end.start_ring()
        held = await slow.flushing(VhostDisk(ring))
        await front_end.stop_ring(ring)
        await front_end.tell(Request.RESET_DEVICE)
        held.let_go()
        slow.gate.open()
        await front_end.tell(Request.SET_FEATURES, vu.U64(front_end.features))
        before = slow.backend.model.requests
        again = FrontEndRing.make(0, front_end.ram, 64, front_end.features)
        front_end.rings.append(again)
        await front_end.set_up_ring(again, base=None)
        assert await VhostDisk(again).write(0, b"e" * SECTOR) is OK
        assert slow.backend.model.requests == before + 1


async def test_without_a_log_a_stop_waits(slow: Slow) -> None:
    """A base can't say that a flush is left: it would be lost."""
    async with slow.backend.driven() as (front_end, ring):
        disk = VhostDisk(ring)
        held = await slow.flushing(disk)
        stop = asyncio.create_task(front_end.stop_ring(ring))
        done, _ = await asyncio.wait([stop], timeout=A_WHILE)
        assert not done
        held.let_go()
        await stop
        assert await disk.finish(1) == [OK]


async def test_a_front_end_without_version_1_is_served_by_a_quirk(tmp_path: Path) -> None:
    """As QEMU is in front of a legacy driver."""
    without = int(Feature.VIRTIO_F_VERSION_1 | Feature.VIRTIO_F_RING_PACKED)
    async with (
        serve(tmp_path, quirks=[NO_VERSION_1]) as backend,
        backend.driven(without=without) as (_, ring),
    ):
        assert await VhostDisk(ring).write(0, b"d" * SECTOR) is OK
        assert backend.device.quirks.uses == {"tolerate_no_version_1": 1}
