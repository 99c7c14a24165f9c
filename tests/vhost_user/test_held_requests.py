"""A disk for guests that holds what its storage fails."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.vhost_user.backend import MIB, Backend, serve
from tests.support.vhost_user.disk import VhostDisk
from virtmesh.blk.model import BlkModel, BlkOptions
from virtmesh.vhost_user.messages import Request
from virtmesh_common.blk.spec import SECTOR, RequestStatus, RequestType

OK = RequestStatus.VIRTIO_BLK_S_OK
LAST = MIB // SECTOR - 1


def make(options: BlkOptions) -> BlkModel:
    """Make a disk that holds what fails."""
    return BlkModel("vda", replace(options, on_error="stop"))


@pytest.fixture
async def backend(tmp_path: Path) -> AsyncIterator[Backend]:
    """Serve the disk."""
    async with serve(tmp_path, make=make) as served:
        yield served


async def held(backend: Backend) -> str:
    """Wait until the device says that it holds a request; returns why."""
    while not (status := await backend.status()).executing.held:
        pass
    return status.executing.held


async def test_a_guest_sees_no_error_when_the_storage_comes_back(backend: Backend) -> None:
    """Its other requests go on meanwhile."""
    image = backend.model.options.image
    async with backend.driven() as (_, ring):
        disk = VhostDisk(ring)
        os.truncate(image, SECTOR)
        disk.submit(RequestType.VIRTIO_BLK_T_OUT, LAST, b"x" * SECTOR)
        assert await held(backend) == "TRUNCATED"
        assert await disk.read(0) == bytes(SECTOR)
        os.truncate(image, MIB)
        assert await disk.finish(1) == [OK]
        assert await disk.read(LAST) == b"x" * SECTOR


async def test_what_is_held_stays_in_the_log_when_its_ring_stops(backend: Backend) -> None:
    """A guest that is suspended finds it under way when it goes on."""
    image = backend.model.options.image
    async with backend.ready() as front_end:
        await front_end.take_logs()
        ring = await front_end.start_ring()
        disk = VhostDisk(ring)
        os.truncate(image, SECTOR)
        disk.submit(RequestType.VIRTIO_BLK_T_OUT, LAST, b"y" * SECTOR)
        await held(backend)
        base = await front_end.stop_ring(ring)
        assert disk.under_way == 1
        os.truncate(image, MIB)
        await front_end.set_up_ring(ring, base=base)
        assert await disk.finish(1) == [OK]
        assert await disk.read(LAST) == b"y" * SECTOR


async def test_a_reset_of_the_guest_drops_it(backend: Backend) -> None:
    """And waits for nothing."""
    async with backend.driven() as (front_end, ring):
        os.truncate(backend.model.options.image, SECTOR)
        VhostDisk(ring).submit(RequestType.VIRTIO_BLK_T_IN, LAST, SECTOR)
        await held(backend)
        await front_end.tell(Request.RESET_DEVICE)
        assert backend.model.disk.held == 0
        assert not (await backend.status()).HasField("executing")
