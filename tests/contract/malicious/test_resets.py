"""Resets and detaches keep their bound, whatever the driver does meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.contract.conftest import Served
from tests.support.device_kinds import DEVICES
from tests.support.reset_attack import ATTACKS, STORM, attacker, seconds_of
from tests.support.storage_gate import StorageGate, gated
from virtmesh.blk.kind import KIND as BLK
from virtmesh.kinds import find_kind
from virtmesh.testing.malicious import Dialogue, replay, service
from virtmesh.testing.scripted_driver import BlkRequest
from virtmesh_common.blk.spec import BlkFeature, RequestType
from virtmesh_common.memory_map import RAM_ADDRESS
from virtmesh_common.virtio import mmio
from virtmesh_common.virtio.features import Feature

Serve = Callable[..., AbstractAsyncContextManager[Served]]

BOUND = 0.1
"""In which a reset or detach ends, in seconds, unless a read or write is stuck in the storage."""
STUCK = 1.0
"""In which it ends otherwise, and says so."""
SLACK = 20.0
"""What a loaded host may add to that. Who waits for the storage waits for the test, longer."""
STORM_BOUND = 0.5
"""The same where the call waits for its turn beside the batches of a storm, and for this process,
which also sends them."""
ROUNDS = 40
"""Most tries to keep the bound on a loaded host. Who waits for the driver never keeps it."""
PLAIN = Feature.VIRTIO_F_VERSION_1 | BlkFeature.VIRTIO_BLK_F_FLUSH
FLUSH = BlkRequest(RequestType.VIRTIO_BLK_T_FLUSH, 0)
READ = BlkRequest.read(8, 128 << 10)
RAM_BYTES = 4 << 20


@pytest.mark.parametrize("way", ATTACKS)
@pytest.mark.parametrize("name", DEVICES)
async def test_resets_and_detaches_keep_their_bound(
    name: str, way: str, tmp_path: Path, serve: Serve
) -> None:
    """And the next driver has a device that works."""
    if not DEVICES[name].queues and way != STORM:
        pytest.skip("it has no queues")
    kind = DEVICES[name].kind
    async with serve(kind.make(tmp_path), find_kind(DEVICES[name].kind_name)) as served:
        for call in ("Reset", "Detach"):
            bound = STORM_BOUND if way == STORM else BOUND
            took: list[float] = []
            while min(took, default=bound) >= bound and len(took) < ROUNDS:
                took.append(await seconds_of(served, name, way, call))
            assert min(took) < bound
        await replay(service(served.address), NOTHING, kind.driver, kind.use)


NOTHING = Dialogue(RAM_ADDRESS, RAM_BYTES, ())
"""After it, the driver uses the device."""


@pytest.fixture
async def slow(tmp_path: Path, serve: Serve) -> AsyncIterator[tuple[Served, StorageGate]]:
    """Serve a disk whose storage answers when the test says so."""
    device, gate = gated(lambda: DEVICES["disk"].kind.make(tmp_path), "fdatasync", "preadv2")
    async with serve(device, BLK) as served:
        yield served, gate
        gate.open()
    device.close()


@pytest.mark.parametrize("way", ["scribble", "loop", "flood", "kick"])
async def test_a_flush_in_flight_is_not_waited_for(
    slow: tuple[Served, StorageGate], way: str
) -> None:
    """While the rings change, and storage does not answer."""
    served, gate = slow
    async with served.attached("attacker", by_channel=True) as driver:
        await driver.bring_up(PLAIN, queues=2)
        driver.add(FLUSH)
        await driver.ring(0, by="eventfd")
        held = await asyncio.to_thread(gate.next)
        with attacker(way, driver):
            await driver.put(mmio.STATUS, 0)
            assert await driver.get(mmio.STATUS) == 0  # It is not 0 while a reset waits.
    held.let_go()


@pytest.mark.parametrize("way", ["scribble", "loop", "flood", "kick"])
async def test_a_read_that_is_stuck_is_told_in_time(
    slow: tuple[Served, StorageGate], way: str
) -> None:
    """The answer comes after a second, and the log names the request."""
    served, gate = slow
    async with served.attached("attacker", by_channel=True) as driver:
        await driver.bring_up(PLAIN, queues=2)
        driver.add(READ)
        await driver.ring(0, by="eventfd")
        held = await asyncio.to_thread(gate.next)
        with attacker(way, driver), capture_logs() as lines:
            begun = time.monotonic()
            await driver.put(mmio.STATUS, 0)
            assert STUCK <= time.monotonic() - begun < STUCK + SLACK
        assert any("stuck" in line["event"] and "IN at sector" in line["request"] for line in lines)
        assert await driver.get(mmio.STATUS)
        held.let_go()
        gate.open()
        while await driver.get(mmio.STATUS):
            pass
