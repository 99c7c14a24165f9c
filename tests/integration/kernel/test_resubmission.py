"""A disk whose service dies and comes back: what it had is carried out, or says why not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.world import World, failure_of, serving
from virtmesh.kernel.device import ProbeState
from virtmesh.testing.scripted_disk import ScriptedDisk
from virtmesh_common.api.kernel.v1 import block_device_pb2 as pb
from virtmesh_common.errors import DeviceLost

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

PATIENT_MS = 60_000
SOON_S = 20.0
BLOCK = 512


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Serve a kernel of one disk, which is not there yet."""
    async with serving(tmp_path, {"vda": "blk"}) as world:
        yield world


def read(world: World, offset: int, length: int, **fields: Any) -> asyncio.Task[bytes]:
    """Begin to read."""

    async def run() -> bytes:
        request = pb.ReadRequest(
            device="vda",
            offset_bytes=offset,
            length_bytes=length,
            **({"retry_for_ms": PATIENT_MS} | fields),
        )
        return b"".join([response.data async for response in world.disks.Read(request)])

    return asyncio.create_task(run())


async def die(world: World, model: ScriptedDisk, *tasks: asyncio.Task[Any]) -> None:
    """Let the kernel lose a disk with requests in flight, and see that nobody's task ends."""
    await world.server.kernel.device("vda").until(ProbeState.WAITING)
    assert not any(task.done() for task in tasks)
    model.held.clear()


async def test_a_read_in_flight_is_completed_by_the_next_service(world: World) -> None:
    """Its caller sees no more than a pause."""
    first, second = ScriptedDisk(), ScriptedDisk()
    second.data[:BLOCK] = b"x" * BLOCK
    async with world.serve_scripted(first):
        await world.ready("vda")
        first.hold = True
        reading = read(world, 0, BLOCK)
        await first.arrived(1)
    await die(world, first, reading)

    async with world.serve_scripted(second), asyncio.timeout(SOON_S):
        assert await reading == b"x" * BLOCK


async def test_without_patience_a_loss_is_told_at_once(world: World) -> None:
    """A caller that asks for no retry hears DEVICE_LOST."""
    model = ScriptedDisk()
    async with world.serve_scripted(model):
        await world.ready("vda")
        model.hold = True
        reading = read(world, 0, BLOCK, retry_for_ms=0)
        await model.arrived(1)

    assert isinstance(await failure_of(reading), DeviceLost)
