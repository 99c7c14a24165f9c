"""Front ends whose descriptors make whoever closes, asks, reads or writes them wait."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import astuple
from pathlib import Path

import pytest

from tests.support.frozen_fuse import frozen_fuse
from tests.support.handover import tells_semaphores
from tests.support.lingering import SOON, Lingering, lingering_sockets
from tests.support.vhost_user.backend import Backend, Reasons
from virtmesh.vhost_user import messages as vu
from virtmesh.vhost_user.messages import Request
from virtmesh_common.virtio.features import Feature

REGION = vu.MemoryRegion(0x8000_0000, 1 << 16, 0x7F00_0000_0000, 0)
RING = vu.U64(0)
LOG = vu.Inflight(4096, 0, 1, 64)
MESSAGES: dict[str, tuple[Request, vu.Payload | bytes]] = {
    "call": (Request.SET_VRING_CALL, RING),
    "kick": (Request.SET_VRING_KICK, RING),
    "error": (Request.SET_VRING_ERR, RING),
    "memory": (Request.SET_MEM_TABLE, vu.MemoryTable((REGION,))),
    "region": (Request.ADD_MEM_REG, vu.SingleRegion(0, *astuple(REGION))),
    "log": (Request.SET_INFLIGHT_FD, LOG),
    "requests": (Request.SET_BACKEND_REQ_FD, b""),
    "nothing": (Request.GET_FEATURES, vu.U64(0)),
}


@pytest.mark.parametrize("name", MESSAGES)
@pytest.mark.parametrize("make", [Lingering.make, Lingering.nested])
async def test_a_close_that_lingers(
    backend: Backend, name: str, make: Callable[[Lingering], int]
) -> None:
    """The next front end is served at once, whatever the descriptor was sent for."""
    request, payload = MESSAGES[name]
    with lingering_sockets() as lingering:
        start = time.monotonic()
        async with backend.connected() as front_end:
            await front_end.negotiate()
            descriptor = make(lingering)
            front_end.post(request, payload, [descriptor])
            os.close(descriptor)
            front_end.post(Request.GET_FEATURES)
            with suppress(Exception):  # It may be refused before.
                await front_end.answer()
        assert await backend.works()
        assert time.monotonic() - start < SOON


@pytest.mark.parametrize("name", MESSAGES)
async def test_a_file_of_a_file_system_that_does_not_answer(
    backend: Backend, tmp_path: Path, name: str
) -> None:
    """Nothing is asked of it, it is not mapped, and nobody waits for its close."""
    folder = tmp_path / "frozen"
    folder.mkdir()
    request, payload = MESSAGES[name]
    with frozen_fuse(folder) as frozen:
        descriptor = frozen.open_frozen()
        async with backend.connected() as front_end:
            await front_end.negotiate()
            front_end.post(request, payload, [descriptor])
            assert await front_end.lost()
        assert await backend.works()
    with suppress(OSError):  # The file system is gone.
        os.close(descriptor)


async def test_an_error_eventfd_that_is_full_and_blocks(backend: Backend) -> None:
    """The ring breaks, and the service goes on."""
    async with backend.driven(without=Feature.VIRTIO_F_RING_PACKED) as (_, ring):
        os.eventfd_write(ring.error, (1 << 64) - 2)
        fcntl.fcntl(ring.error, fcntl.F_SETFL, 0)
        ring.ram.memory.write(ring.layout.driver_area + 2, (10_000).to_bytes(2, "little"))
        os.eventfd_write(ring.kick, 1)
        while "available index" not in (await backend.status()).fault:
            pass
        assert (await backend.status()).attached
    assert await backend.works()


async def test_a_kick_that_is_a_semaphore(backend: Backend, reasons: Reasons) -> None:
    """Its 2^31 signals would keep the thread of its queue busy."""
    kick = os.eventfd(1 << 31, os.EFD_NONBLOCK | os.EFD_SEMAPHORE)
    if not tells_semaphores():
        pytest.skip("this kernel does not tell which eventfds are semaphores (Linux 6.5 does)")
    async with backend.driven() as (front_end, _):
        front_end.post(Request.SET_VRING_KICK, vu.U64(0), [kick])
        os.close(kick)
        assert await front_end.lost()
    assert "is a semaphore" in reasons()
    assert await backend.works()
