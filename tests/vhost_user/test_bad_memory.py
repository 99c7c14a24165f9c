"""Memory that front ends offer and that can't be used, or goes away while it is."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from dataclasses import astuple, replace
from pathlib import Path

import pytest

from tests.support.vhost_user.backend import MIB, Backend, Reasons, open_descriptors, wait_closed
from tests.support.vhost_user.disk import VhostDisk
from tests.support.vhost_user.front_end import USER_ADDRESS, FrontEndRam, VhostFrontEnd
from virtmesh.vhost_user import messages as vu
from virtmesh.vhost_user.messages import Request
from virtmesh_common.blk.spec import SECTOR, RequestStatus, RequestType

HUGE_PAGE = 2 << 20
FREE_HUGE_PAGES = Path("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages")
SMALL_RAM = vu.MemoryRegion(0x8000_0000, MIB, USER_ADDRESS, 0)


def pipe() -> int:
    """Return what is no file."""
    end, other = os.pipe()
    os.close(other)
    return end


def sealed() -> int:
    """Return a file that nobody may write."""
    descriptor = os.memfd_create("sealed", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, MIB)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
    return descriptor


def read_only() -> int:
    """Return a file that is not open for writing."""
    descriptor = os.memfd_create("read-only", os.MFD_CLOEXEC)
    os.ftruncate(descriptor, MIB)
    again = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)
    os.close(descriptor)
    return again


FILES: dict[str, tuple[Callable[[], int], str]] = {
    "pipe": (pipe, "no regular file"),
    "sealed": (sealed, "not permitted"),
    "read-only": (read_only, "denied"),
    "eventfd": (lambda: os.eventfd(0), "no regular file"),
}


@pytest.fixture(params=list(FILES.values()), ids=list(FILES.keys()))
def file(request: pytest.FixtureRequest) -> Iterator[tuple[int, str]]:
    """Make a descriptor that is no memory; returns it, and why it is none."""
    make, reason = request.param
    descriptor = make()
    yield descriptor, reason
    os.close(descriptor)


@pytest.mark.parametrize("request_", [Request.SET_MEM_TABLE, Request.ADD_MEM_REG])
async def test_a_file_that_is_no_memory_ends_the_connection(
    backend: Backend, reasons: Reasons, file: tuple[int, str], request_: Request
) -> None:
    """It has to be a regular one that can be read and written; nothing of it stays open."""
    before = await open_descriptors(backend)
    descriptor, reason = file
    table = vu.MemoryTable((SMALL_RAM,))
    single = vu.SingleRegion(0, *astuple(SMALL_RAM))
    async with backend.connected() as front_end:
        await front_end.negotiate()
        payload = table if request_ is Request.SET_MEM_TABLE else single
        front_end.post(request_, payload, [descriptor])
        assert await front_end.lost()
    assert reason in reasons()
    await wait_closed(backend, before)


async def test_a_region_can_not_be_added_twice(backend: Backend, reasons: Reasons) -> None:
    """It is there already."""
    async with backend.ready() as front_end:
        await add(front_end, front_end.ram.region, front_end.ram.descriptor)
        assert await front_end.lost()
    assert "was added before" in reasons()
    assert await backend.works()


async def test_no_region_can_be_removed_before_there_is_one(
    backend: Backend, reasons: Reasons
) -> None:
    """There is no memory then."""
    async with backend.connected() as front_end:
        await front_end.negotiate()
        front_end.post(Request.REM_MEM_REG, vu.SingleRegion(0, *astuple(SMALL_RAM)))
        assert await front_end.lost()
    assert "there is no memory region" in reasons()
    assert await backend.works()


async def test_as_many_regions_can_be_added_as_there_are_slots(
    backend: Backend, reasons: Reasons
) -> None:
    """GET_MAX_MEM_SLOTS says how many; one more ends the connection, and nothing stays open."""
    before = await open_descriptors(backend)
    slots = await overfill(backend)
    assert f"more than {slots} memory regions" in reasons()
    await wait_closed(backend, before)


async def overfill(backend: Backend) -> int:
    """Add regions until the connection ends; returns how many there could be."""
    async with backend.driven() as (front_end, ring):
        slots = await front_end.ask_u64(Request.GET_MAX_MEM_SLOTS)
        regions = [moved(SMALL_RAM, (1 << 40) + number * MIB) for number in range(slots)]
        for region in regions[1:]:
            await front_end.tell(
                Request.ADD_MEM_REG,
                vu.SingleRegion(0, *astuple(region)),
                [front_end.ram.descriptor],
            )
        assert await VhostDisk(ring).flush() is RequestStatus.VIRTIO_BLK_S_OK
        await add(front_end, regions[0], front_end.ram.descriptor)
        assert await front_end.lost()
    return slots


async def test_memory_that_is_cut_off_with_requests_in_flight_ends_the_connection(
    backend: Backend, reasons: Reasons
) -> None:
    """What is in flight is finished, on memory that nobody sees."""
    async with backend.driven() as (front_end, ring):
        disk = VhostDisk(ring)
        for sector in range(16):
            disk.submit(RequestType.VIRTIO_BLK_T_OUT, sector, bytes([sector]) * SECTOR)
        os.ftruncate(front_end.ram.descriptor, 0)
        os.eventfd_write(ring.kick, 1)
        assert await front_end.lost()
    assert "made shorter" in reasons()
    assert await backend.works()


AREAS = {
    "unaligned": ({"descriptor": 8}, "descriptor area at"),
    "overlapping": ({"used": 0}, "overlap"),
    "beyond memory": ({"descriptor": 1 << 32}, "before its size, its addresses, or memory there"),
    "overflowing": ({"used": (1 << 64) - 4 - USER_ADDRESS}, "before its size"),
}


@pytest.mark.parametrize(("change", "reason"), AREAS.values(), ids=AREAS.keys())
async def test_a_ring_that_can_not_be_there_ends_the_connection(
    backend: Backend, reasons: Reasons, change: dict[str, int], reason: str
) -> None:
    """Its parts are aligned, apart, and in memory (2.7, 2.8)."""
    async with backend.ready() as front_end:
        at = {"descriptor": 0, "used": 8192, "available": 4096} | change
        places = {name: USER_ADDRESS + offset for name, offset in at.items()}
        areas = vu.VringAddress(index=0, flags=0, log=0, **places)
        front_end.post(Request.SET_VRING_NUM, vu.VringState(0, 64))
        front_end.post(Request.SET_VRING_ADDR, areas)
        front_end.post(Request.SET_VRING_ENABLE, vu.VringState(0, 1))
        front_end.post(Request.SET_VRING_KICK, vu.U64(vu.INVALID_FD))
        assert await front_end.lost()
    assert reason in reasons()
    assert await backend.works()


# -- Huge pages -----------------------------------------------------------------------------------


async def test_a_part_of_a_huge_page_ends_the_connection(
    backend: Backend, reasons: Reasons
) -> None:
    """It could not be unmapped."""
    descriptor = huge_file(1)
    async with backend.connected() as front_end:
        await front_end.negotiate()
        front_end.post(Request.SET_MEM_TABLE, vu.MemoryTable((SMALL_RAM,)), [descriptor])
        assert await front_end.lost()
    os.close(descriptor)
    assert f"no multiple of {HUGE_PAGE}" in reasons()
    assert await backend.works()


@pytest.mark.skipif(
    not FREE_HUGE_PAGES.exists() or int(FREE_HUGE_PAGES.read_text()) < 4,
    reason="needs 4 free huge pages of 2 MiB",
)
async def test_memory_may_be_of_huge_pages(backend: Backend) -> None:
    """They are mapped where they fit."""
    descriptor = huge_file(2)
    ram = FrontEndRam(2 * HUGE_PAGE, descriptor=descriptor)
    async with backend.connected() as front_end:
        front_end.ram.close()
        front_end.ram = ram
        await front_end.negotiate()
        await front_end.share()
        disk = VhostDisk(await front_end.start_ring())
        assert await disk.write(0, b"h" * SECTOR) is RequestStatus.VIRTIO_BLK_S_OK


@pytest.mark.parametrize("request_", [Request.SET_MEM_TABLE, Request.ADD_MEM_REG])
async def test_more_memory_than_the_service_takes_ends_the_connection(
    backend: Backend, reasons: Reasons, request_: Request
) -> None:
    """Pages that nobody has touched yet count: they would be charged to the service."""
    descriptor = os.memfd_create("sparse")
    os.ftruncate(descriptor, 1 << 46)
    region = replace(SMALL_RAM, size=1 << 46)
    table, single = vu.MemoryTable((region,)), vu.SingleRegion(0, *astuple(region))
    async with backend.connected() as front_end:
        await front_end.negotiate()
        payload = table if request_ is Request.SET_MEM_TABLE else single
        front_end.post(request_, payload, [descriptor])
        assert await front_end.lost()
    os.close(descriptor)
    assert "--guest-memory-max" in reasons()
    assert await backend.works()


def huge_file(pages: int) -> int:
    """Make a file of huge pages."""
    descriptor = os.memfd_create("huge", os.MFD_CLOEXEC | os.MFD_HUGETLB | os.MFD_HUGE_2MB)
    os.ftruncate(descriptor, pages * HUGE_PAGE)
    return descriptor


def moved(region: vu.MemoryRegion, address: int) -> vu.MemoryRegion:
    """Return a region that is elsewhere, by either address."""
    return replace(region, guest_address=address, user_address=address)


async def add(front_end: VhostFrontEnd, region: vu.MemoryRegion, descriptor: int) -> None:
    """Add a region, and wait for nothing."""
    front_end.post(Request.ADD_MEM_REG, vu.SingleRegion(0, *astuple(region)), [descriptor])
