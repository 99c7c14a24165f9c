"""A disk service is killed under load, again and again, and the next one goes on in its place."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.vhost_user.disk import VhostDisk
from tests.support.vhost_user.front_end import VhostFrontEnd
from tests.support.vhost_user.process import VhostDiskProcess
from virtmesh_common.blk.spec import SECTOR, RequestStatus, RequestType
from virtmesh_common.virtio.features import Feature

pytestmark = pytest.mark.processes

KILLS = 10
SLOTS = 16
"""Requests under way at a time."""
COMPLETIONS = 300
"""Most requests between two kills."""
PLACES = 64
"""Parts of the disk that are written, of up to 4096 bytes each."""
KINDS = {
    "split": int(Feature.VIRTIO_F_RING_PACKED),
    "split, direct": int(Feature.VIRTIO_F_RING_PACKED | Feature.VIRTIO_F_INDIRECT_DESC),
    "packed": 0,
    "packed, direct": int(Feature.VIRTIO_F_INDIRECT_DESC),
}
"""Kinds of rings, by the features that are not agreed on."""


class Load:
    """Random requests, of which none is in another's way, and what the disk has to hold."""

    def __init__(self, disk: VhostDisk, seed: int) -> None:
        self._disk = disk
        self.random = random.Random(seed)  # noqa: S311 - no secret
        self._under_way: dict[int, tuple[RequestType, int, bytes]] = {}
        """Type, place, and data that is written or has to be read, by token."""
        self._idle = list(range(PLACES))
        self.held = dict.fromkeys(range(PLACES), bytes(4096))
        self.submitted = self.completed = 0

    def submit(self) -> None:
        """Add as many requests as may be under way."""
        while self._disk.under_way < SLOTS:
            place = self._idle.pop(self.random.randrange(len(self._idle)))
            kind = self.random.choices(
                [
                    RequestType.VIRTIO_BLK_T_OUT,
                    RequestType.VIRTIO_BLK_T_IN,
                    RequestType.VIRTIO_BLK_T_FLUSH,
                ],
                [7, 2, 1],
            )[0]
            data = self.held[place]
            argument: bytes | int = b""
            if kind is RequestType.VIRTIO_BLK_T_OUT:
                argument = data = os.urandom(SECTOR * self.random.randint(1, 8))
            elif kind is RequestType.VIRTIO_BLK_T_IN:
                argument = len(data)
            token = self._disk.submit(kind, place * 8, argument)
            self._under_way[token] = (kind, place, data)
            self.submitted += 1

    async def complete(self) -> None:
        """Wait for completed requests, and check them."""
        for token, status, found in await self._disk.completions():
            assert status is RequestStatus.VIRTIO_BLK_S_OK
            kind, place, data = self._under_way.pop(token)
            assert kind is not RequestType.VIRTIO_BLK_T_IN or found == data
            if kind is RequestType.VIRTIO_BLK_T_OUT:
                self.held[place] = data + self.held[place][len(data) :]
            self._idle.append(place)
            self.completed += 1

    async def run(self, completions: int) -> None:
        """Keep the disk busy until so many more requests are completed."""
        enough = self.completed + completions
        while self.completed < enough:
            self.submit()
            await self.complete()
        self.submit()

    async def drain(self) -> None:
        """Complete what is under way."""
        while self._under_way:
            await self.complete()


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[VhostDiskProcess]:
    """Run the service; at the end it is gone."""
    service = VhostDiskProcess(tmp_path)
    try:
        yield service
    finally:
        await service.kill()
        sys.stdout.write(service.log)  # shown when the test fails


@pytest.mark.timeout(300)
@pytest.mark.parametrize("without", KINDS.values(), ids=KINDS.keys())
async def test_a_killed_service_loses_nothing_and_answers_nothing_twice(
    service: VhostDiskProcess, without: int
) -> None:
    """Every request completes once, and what a completed write wrote is on the image."""
    await service.start()
    front_end = await VhostFrontEnd.connect(service.path)
    try:
        await front_end.negotiate(without=without)
        await front_end.take_logs()
        await front_end.share()
        load = Load(VhostDisk(await front_end.start_ring(), slots=SLOTS), seed=without)
        for _ in range(KILLS):
            await load.run(load.random.randrange(COMPLETIONS))
            await service.kill()
            await service.start()
            await front_end.reconnect(service.path)
        await load.drain()
    finally:
        front_end.close()
    await service.end()
    assert service.starts == KILLS + 1
    assert load.completed == load.submitted
    content = service.image.read_bytes()
    found = {place: content[place * 4096 :][:4096] for place in range(PLACES)}
    assert found == load.held
