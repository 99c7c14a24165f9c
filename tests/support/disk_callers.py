"""Callers of a disk that wait for it, and disks that die with what they had."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from virtmesh.kernel.device import ProbeState
from virtmesh.testing.scripted_disk import ScriptedDisk
from virtmesh_common.api.kernel.v1 import block_device_pb2 as pb
from virtmesh_common.blk.spec import RequestType

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from tests.support.world import World

PATIENT_MS = 60_000
SOON_S = 20.0
"""Limit for what only takes a pause."""
BLOCK = 512


class Caller:
    """Calls of a disk, each with the same patience."""

    def __init__(self, world: World, retry_for_ms: int = PATIENT_MS) -> None:
        self._disks = world.disks
        self._about: dict[str, Any] = {"device": "vda", "retry_for_ms": retry_for_ms}

    async def read(self, offset: int = 0, length: int = BLOCK) -> bytes:
        """Read a range."""
        request = pb.ReadRequest(offset_bytes=offset, length_bytes=length, **self._about)
        return b"".join([response.data async for response in self._disks.Read(request)])

    async def write(self, offset: int = 0, data: bytes = b"w" * BLOCK) -> None:
        """Write a range."""

        async def messages() -> AsyncIterator[pb.WriteRequest]:
            yield pb.WriteRequest(header=pb.WriteHeader(offset_bytes=offset, **self._about))
            yield pb.WriteRequest(data=data)

        async for _ in self._disks.Write(messages()):
            pass

    async def flush(self) -> None:
        """Flush."""
        await self._disks.Flush(pb.FlushRequest(**self._about))

    async def discard(self) -> None:
        """Discard a block."""
        await self._disks.Discard(pb.DiscardRequest(length_bytes=BLOCK, **self._about))

    async def zero(self) -> None:
        """Zero a block."""
        await self._disks.WriteZeroes(pb.WriteZeroesRequest(length_bytes=BLOCK, **self._about))


if TYPE_CHECKING:
    Call = Callable[[Caller], Coroutine[Any, Any, Any]]


@asynccontextmanager
async def holding(world: World) -> AsyncIterator[ScriptedDisk]:
    """Serve a disk that answers nothing, until its service ends."""
    model = ScriptedDisk()
    async with world.serve_scripted(model):
        await world.ready("vda")
        model.hold = True
        model.seen.clear()
        yield model
    await world.server.kernel.device("vda").until(ProbeState.WAITING)


@asynccontextmanager
async def reviving(world: World) -> AsyncIterator[ScriptedDisk]:
    """Serve a disk that holds the reads that begin again with it, until its service ends."""
    model = Reviving()
    async with world.serve_scripted(model):
        yield model
    await world.server.kernel.device("vda").until(ProbeState.WAITING)


class Reviving(ScriptedDisk):
    """A disk that answers nothing but the question for its name."""

    def take(self, chain: Any) -> None:
        """Hold reads: from its name on."""
        super().take(chain)
        self.hold = True


def work_of(model: ScriptedDisk) -> list[tuple[int, int]]:
    """Return the type and the sector of each request but the question for the name."""
    return [
        (one.type, one.sector) for one in model.seen if one.type != RequestType.VIRTIO_BLK_T_GET_ID
    ]
