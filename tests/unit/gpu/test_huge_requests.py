"""Requests whose descriptors cover all of guest memory, again and again: no device touches it.

A disk that filled what it refused with zeroes kept its next driver waiting for two minutes.
"""

from __future__ import annotations

import time

import pytest

from tests.support.gpu_rig import GpuRig, gpu_rig
from tests.support.lingering import SOON
from virtmesh_common.gpu import spec
from virtmesh_common.gpu.spec import CONTROLQ, CURSORQ
from virtmesh_common.virtio import mmio

PIECES = 3
"""As many descriptors of each kind as a direct chain of the rig has room for, with the header."""
MARK = b"what nobody touches"


def cover(rig: GpuRig, queue: int, command: int) -> int:
    """Add a request with all of guest memory as its body, and as the place of its answer."""
    ram = rig.script.ram
    header = rig.pages(spec.CTRL_HDR.pack(command, 0, 0, 0, 0))
    answer = rig.pages(bytes(4096))
    whole = [(ram.address, ram.size)] * PIECES
    token = rig.script.queues[queue].add(
        [(header, spec.CTRL_HDR.size), *whole], [(answer, 4096), *whole]
    )
    assert token is not None
    return answer


@pytest.mark.parametrize("queue", [CONTROLQ, CURSORQ])
@pytest.mark.parametrize("command", [0, 0xFFFF, 0x0107, 0x0301])
async def test_only_the_answer_is_written(queue: int, command: int) -> None:
    """Of an unknown command, or a known one that is malformed; and the next driver gets in."""
    start = time.monotonic()
    async with gpu_rig() as rig:
        mark = rig.pages(MARK)
        for _ in range(20):
            answer = cover(rig, queue, command)
            await rig.script.put(mmio.QUEUE_NOTIFY, queue)
            await rig.script.used(queue)
            ((_, written),) = rig.script.queues[queue].pop_used()
            assert written <= 4096
            assert rig.memory.read(mark, len(MARK)) == MARK
            assert rig.memory.read(answer, 2) != bytes(2)
        cover(rig, queue, command)
        await rig.script.put(mmio.QUEUE_NOTIFY, queue)
        await rig.script.reset()
        await rig.bring_up()
        assert await rig.create(1, 1, 1) == spec.Response.VIRTIO_GPU_RESP_OK_NODATA
    assert time.monotonic() - start < SOON
