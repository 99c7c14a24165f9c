"""Faults on demand take hold of what a vhost-user front end does, as for any other driver."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.vhost_user.backend import Backend
from tests.support.vhost_user.disk import VhostDisk
from tests.support.vhost_user.front_end import WAIT_SECONDS
from virtmesh_common.api.fault.v1 import fault_pb2 as pb
from virtmesh_common.api.fault.v1.fault_pb2_grpc import FaultServiceStub
from virtmesh_common.blk.spec import SECTOR, RequestStatus, RequestType
from virtmesh_common.channel import open_channel
from virtmesh_common.errors import RingCorrupt
from virtmesh_common.fault.message import encode_spec
from virtmesh_common.fault.spec import parse_fault
from virtmesh_common.time_limit import time_limit
from virtmesh_common.virtio.features import Feature

OK = RequestStatus.VIRTIO_BLK_S_OK
ERROR = RequestStatus.VIRTIO_BLK_S_IOERR
FLUSH = RequestType.VIRTIO_BLK_T_FLUSH
RINGS = {"packed": 0, "split": int(Feature.VIRTIO_F_RING_PACKED)}


class Faults:
    """The faults of a back end."""

    def __init__(self, stub: Any) -> None:
        self._stub = stub

    async def add(self, words: str) -> int:
        """Order a fault; return its number."""
        request = pb.AddRequest(spec=encode_spec(parse_fault(words)))
        number: int = (await self._stub.Add(request)).fault.id
        return number

    async def look(self) -> pb.Fault:
        """Return how the only fault stands."""
        found: pb.Fault
        (found,) = (await self._stub.List(pb.ListRequest())).faults
        return found

    async def until(self, field: str, count: int) -> None:
        """Wait until a count of the only fault is that high."""
        async with time_limit(WAIT_SECONDS):
            while getattr(await self.look(), field) < count:
                pass

    async def clear(self) -> list[pb.Fault]:
        """Take all back."""
        return list((await self._stub.Clear(pb.ClearRequest())).faults)


@pytest.fixture
async def faults(backend: Backend) -> AsyncIterator[Faults]:
    """Connect to the service."""
    async with open_channel(backend.address) as channel:
        yield Faults(FaultServiceStub(channel))


async def test_each_second_write_to_a_range_fails_and_writes_nothing(
    backend: Backend, faults: Faults
) -> None:
    """A write outside, and a read, are not touched; taken back, all is well."""
    async with backend.driven() as (_, ring):
        disk = VhostDisk(ring)
        await faults.add("io-error type=write sectors=8-15 every=2")

        assert await disk.write(16, b"\x11" * SECTOR) is OK
        assert await disk.write(8, b"\x22" * SECTOR) is OK
        assert await disk.write(8, b"\x33" * SECTOR) is ERROR
        assert await disk.write(4, b"\x44" * 5 * SECTOR) is OK
        assert await disk.read(8) == b"\x44" * SECTOR
        (ended,) = await faults.clear()
        assert (ended.seen, ended.hits) == (3, 1)
        assert await disk.write(8, b"\x55" * SECTOR) is OK
        assert await disk.write(8, b"\x66" * SECTOR) is OK
        assert await disk.read(8) == b"\x66" * SECTOR


async def test_a_hanging_request_goes_on_when_its_fault_is_taken_back(
    backend: Backend, faults: Faults
) -> None:
    """Others are executed meanwhile."""
    async with backend.driven() as (_, ring):
        disk = VhostDisk(ring)
        await faults.add("hang type=flush")
        disk.submit(FLUSH, 0)
        assert await disk.write(8, b"\x22" * SECTOR) is OK
        await faults.until("held", 1)
        assert disk.under_way == 1
        await faults.clear()
        assert await disk.finish(1) == [OK]


async def test_a_front_end_that_goes_away_takes_its_hanging_request_along(
    backend: Backend, faults: Faults
) -> None:
    """The next one is served; the fault holds nothing back."""
    await faults.add("hang limit=1")
    async with backend.driven() as (_, ring):
        VhostDisk(ring).submit(FLUSH, 0)
        await faults.until("held", 1)
    await backend.free()
    assert await backend.works()
    assert (await faults.look()).held == 0


async def test_a_lost_interrupt_is_not_there_and_the_next_one_is(
    backend: Backend, faults: Faults
) -> None:
    """What was used can be found all the same."""
    async with backend.driven() as (_, ring):
        disk = VhostDisk(ring)
        assert not ring.queue.enable_interrupts()
        before = backend.host.device.interrupt.sequence
        await faults.add("lost-interrupt limit=1")
        disk.submit(FLUSH, 0)
        await faults.until("hits", 1)
        assert ring.queue.can_pop()
        assert backend.host.device.interrupt.sequence == before
        assert await disk.finish(1) == [OK]
        assert not ring.queue.enable_interrupts()
        disk.submit(FLUSH, 0)
        await ring.called()  # by the next one
        assert await disk.finish(1) == [OK]


async def test_an_interrupt_can_be_late(backend: Backend, faults: Faults) -> None:
    """It comes, and the request is complete before."""
    async with backend.driven() as (_, ring):
        disk = VhostDisk(ring)
        assert not ring.queue.enable_interrupts()
        await faults.add("late-interrupt delay=50ms limit=1")
        disk.submit(FLUSH, 0)
        await faults.until("hits", 1)
        assert ring.queue.can_pop()
        await ring.called()
        assert await disk.finish(1) == [OK]


async def test_a_lost_notification_leaves_a_request_until_the_next_one(
    backend: Backend, faults: Faults
) -> None:
    """The device looks at the ring then, and finds both."""
    async with backend.driven() as (_, ring):
        disk = VhostDisk(ring)
        assert await disk.flush() is OK
        await faults.add("lost-notification limit=1")
        disk.submit(FLUSH, 0)
        await faults.until("hits", 1)
        disk.submit(RequestType.VIRTIO_BLK_T_GET_ID, 0, 20)
        # With an event index a driver that has notified does not do so again.
        os.eventfd_write(ring.kick, 1)
        assert set(await disk.finish(2)) == {OK}


async def test_a_stuck_queue_takes_nothing_until_its_fault_is_taken_back(
    backend: Backend, faults: Faults
) -> None:
    """Then it looks at once, without another notification."""
    async with backend.driven() as (_, ring):
        disk = VhostDisk(ring)
        assert await disk.flush() is OK
        await faults.add("stuck-queue queue=0")
        for _ in range(3):
            disk.submit(FLUSH, 0)
        await faults.until("hits", 1)
        assert not ring.queue.can_pop()
        await faults.clear()
        assert await disk.finish(3) == [OK] * 3


@pytest.mark.parametrize("without", RINGS.values(), ids=RINGS)
async def test_a_device_that_lies_about_chains_is_found_out(
    backend: Backend, faults: Faults, without: int
) -> None:
    """By a length that no buffer has, and by a chain that is not in flight."""
    async with backend.driven(without=without) as (_, ring):
        disk = VhostDisk(ring)
        number = await faults.add("wrong-length bytes=4096 limit=1")
        token = disk.submit(FLUSH, 0)
        await faults.until("hits", 1)
        fault = await faults.look()
        assert (fault.id, fault.last) == (
            number,
            f"chain {token} of 1 bytes is given back as chain {token} of 4096",
        )
        with pytest.raises(RingCorrupt, match="wrote 4096 bytes"):
            await ring.wait()


@pytest.mark.parametrize("without", RINGS.values(), ids=RINGS)
async def test_a_chain_that_is_given_back_as_another_is_found_out(
    backend: Backend, faults: Faults, without: int
) -> None:
    """Our rings refuse what is not in flight."""
    async with backend.driven(without=without) as (_, ring):
        disk = VhostDisk(ring)
        await faults.add("wrong-id limit=1")
        disk.submit(FLUSH, 0)
        with pytest.raises(RingCorrupt):
            await ring.wait()
