"""A disk that comes back as another one: what was begun on it fails, and says what differs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.disk_callers import BLOCK, SOON_S, Caller, holding, work_of
from tests.support.world import World, failure_of, serving
from virtmesh.testing.scripted_disk import FEATURES, ScriptedDisk
from virtmesh_common.blk import spec as blk
from virtmesh_common.blk.errors import DiskChanged
from virtmesh_common.blk.spec import BlkFeature, RequestType

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.support.disk_callers import Call


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Serve a kernel of one disk, which is not there yet."""
    async with serving(tmp_path, {"vda": "blk"}) as world:
        yield world


class Renamed(ScriptedDisk):
    """A disk of another serial."""

    def _execute(self, request: Any) -> bytes:
        """Answer the question for the name otherwise."""
        is_name = request.type == RequestType.VIRTIO_BLK_T_GET_ID
        return b"another" if is_name else super()._execute(request)


def without(*features: BlkFeature) -> int:
    """Return what a disk offers that lacks features."""
    return FEATURES & ~sum(int(one) for one in features)


@pytest.mark.parametrize(
    ("call", "make", "what", "words"),
    [
        (Caller.read, Renamed, "serial", "its serial is 'another', it was 'scripted'"),
        (
            Caller.read,
            lambda: ScriptedDisk(config={blk.BLK_SIZE: 4096}),
            "block_size",
            "its blocks have 4096 bytes, they had 512",
        ),
        (
            lambda caller: caller.read(100 * BLOCK),
            lambda: ScriptedDisk(sectors=64),
            "capacity",
            "came back smaller: VIRTIO_BLK_T_IN ends at byte 51712, the disk at 32768",
        ),
        (
            Caller.write,
            lambda: ScriptedDisk(features=FEATURES | BlkFeature.VIRTIO_BLK_F_RO),
            "read_only",
            "came back read-only",
        ),
        (
            Caller.flush,
            lambda: ScriptedDisk(features=without(BlkFeature.VIRTIO_BLK_F_FLUSH)),
            "features",
            "came back without FLUSH",
        ),
        (
            Caller.discard,
            lambda: ScriptedDisk(features=without(BlkFeature.VIRTIO_BLK_F_DISCARD)),
            "features",
            "VIRTIO_BLK_T_DISCARD is of 512 bytes, and it takes 0",
        ),
        (
            lambda caller: caller.write(0, bytes(8192)),
            lambda: ScriptedDisk(config={blk.SIZE_MAX: 512, blk.SEG_MAX: 1}),
            "features",
            "VIRTIO_BLK_T_OUT is of 8192 bytes, and it takes 512",
        ),
    ],
)
async def test_a_disk_that_comes_back_as_another_says_so(
    world: World, call: Call, make: Callable[[], ScriptedDisk], what: str, words: str
) -> None:
    """What can't go on fails with what differs; the disk is of use to new calls."""
    async with holding(world) as first:
        calling = asyncio.create_task(call(Caller(world)))
        await first.arrived(1)
    other = make()
    async with world.serve_scripted(other), asyncio.timeout(SOON_S):
        error = await failure_of(calling)
        assert isinstance(error, DiskChanged)
        assert error.metadata["what"] == what
        assert words in error.message
        assert work_of(other) == []
        assert len(await Caller(world).read()) == BLOCK
