"""A disk service is killed under load, again and again, and the next one goes on in its place."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.vhost_user.disk import VhostDisk
from tests.support.vhost_user.front_end import VhostFrontEnd
from tests.support.vhost_user.load import SLOTS, Load
from tests.support.vhost_user.process import VhostDiskProcess
from virtmesh_common.virtio.features import Feature

pytestmark = pytest.mark.processes

KILLS = 10
COMPLETIONS = 300
"""Most requests between two kills."""
KINDS = {
    "split": int(Feature.VIRTIO_F_RING_PACKED),
    "split, direct": int(Feature.VIRTIO_F_RING_PACKED | Feature.VIRTIO_F_INDIRECT_DESC),
    "packed": 0,
    "packed, direct": int(Feature.VIRTIO_F_INDIRECT_DESC),
}
"""Kinds of rings, by the features that are not agreed on."""


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
    load.check_image(service.image.read_bytes())
