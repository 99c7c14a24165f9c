"""Pictures that are read while the driver flushes: neither holds the event loop up."""

from __future__ import annotations

import asyncio
import struct
from concurrent.futures import Future, ThreadPoolExecutor

from tests.support.gpu_rig import OK, GpuRig, gpu_rig
from virtmesh_common.gpu import spec
from virtmesh_common.gpu.spec import CONTROLQ, Command
from virtmesh_common.virtio import mmio

SIDE = 4095
"""Of a picture that takes long to read: 64 MiB."""
WHOLE = (0, 0, SIDE, SIDE)
ROUNDS = 200
"""Tries to flush in the middle of a read."""


async def shown(rig: GpuRig) -> None:
    """Show a large picture. Its backing is the same pixels again and again."""
    size = SIDE * SIDE * 4
    page = rig.pages(b"\x11\x22\x33\x44" * (1 << 18))
    pieces = [(page, 1 << 20)] * (size >> 20) + [(page, size & (1 << 20) - 1)]
    assert await rig.create(1, SIDE, SIDE) == OK
    assert await rig.attach(1, pieces) == OK
    assert await rig.scan_out(1, WHOLE) == OK


async def flush_one_pixel(rig: GpuRig) -> int:
    """Have the device take the flush of one pixel; return where its answer goes."""
    header = spec.CTRL_HDR.pack(Command.VIRTIO_GPU_CMD_RESOURCE_FLUSH, 0, 0, 0, 0)
    place = rig.post(header + spec.RESOURCE_FLUSH.pack(0, 0, 1, 1, 1))
    await rig.script.put(mmio.QUEUE_NOTIFY, CONTROLQ)
    return place


async def test_a_flush_does_not_wait_for_a_reader() -> None:
    """It is answered when the picture was read, and until then the event loop goes on."""
    async with gpu_rig() as rig:
        await shown(rig)
        picture = rig.model.scanouts[0].picture
        assert picture is not None
        with ThreadPoolExecutor(1) as threads:
            deferred = False
            for _ in range(ROUNDS):
                reading: Future[bytes] = threads.submit(picture.read, WHOLE)
                place = await flush_one_pixel(rig)
                waits = rig.memory.read(place, 4) == bytes(4)
                deferred = waits and not reading.done()
                await rig.script.used(CONTROLQ)
                rig.script.queues[CONTROLQ].pop_used()
                assert struct.unpack_from("<I", rig.memory.read(place, 4))[0] == OK
                await asyncio.wrap_future(reading)
                if deferred:
                    break
            assert deferred


async def test_a_picture_is_read_as_it_was_at_one_moment() -> None:
    """Of two colours that take turns, a reader sees one or the other, never both."""
    black, drawn = b"\0\0\0\xff", b"\x11\x22\x33\xff"
    async with gpu_rig() as rig:
        await shown(rig)
        assert await rig.transfer(1, WHOLE) == OK
        picture = rig.model.scanouts[0].picture
        assert picture is not None
        with ThreadPoolExecutor(1) as threads:
            reading = threads.submit(picture.read, WHOLE)
            assert await rig.flush(1, WHOLE) == OK
            pixels = await asyncio.wrap_future(reading)
        assert pixels in {black * (SIDE * SIDE), drawn * (SIDE * SIDE)}
        assert rig.picture() == drawn * (SIDE * SIDE)
