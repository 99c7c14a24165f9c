"""Resets while pixels are copied, and what any bytes from a driver do: nothing."""

from __future__ import annotations

import asyncio
import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.gpu_rig import OK, GpuRig, entries, gpu_rig, opaque
from virtmesh_common.gpu import spec
from virtmesh_common.gpu.spec import CONTROLQ, CURSORQ, Command, Response
from virtmesh_common.virtio import mmio

SIDE = 2048
LARGE = SIDE * SIDE * 4
"""A copy that a thread makes."""
WHOLE = (0, 0, SIDE, SIDE)
TRANSFER, SCANOUT = (
    Command.VIRTIO_GPU_CMD_TRANSFER_TO_HOST_2D,
    Command.VIRTIO_GPU_CMD_SET_SCANOUT,
)


async def large(rig: GpuRig) -> None:
    """Make a large resource. Its backing is one page of pixels, again and again."""
    page = rig.pages(b"\x11\x22\x33\x44" * 16384)
    assert await rig.create(1, SIDE, SIDE) == OK
    assert await rig.attach(1, [(page, 65536)] * (LARGE // 65536)) == OK


def request(command: int, body: bytes) -> bytes:
    """Return a request."""
    return spec.CTRL_HDR.pack(command, spec.VIRTIO_GPU_FLAG_FENCE, 9, 0, 0) + body


async def test_a_large_picture_is_complete_when_it_is_answered() -> None:
    """Its copies are made by a thread, while the cursor queue goes on."""
    async with gpu_rig() as rig:
        await large(rig)
        place = rig.post(request(TRANSFER, spec.TRANSFER_TO_HOST_2D.pack(*WHOLE, 0, 1)))
        await rig.script.put(mmio.QUEUE_NOTIFY, CONTROLQ)
        assert rig.memory.read(place, 4) == bytes(4)
        move = await rig.point(Command.VIRTIO_GPU_CMD_MOVE_CURSOR, 1, 1)
        assert move.response == OK
        await rig.script.used(CONTROLQ)
        rig.script.queues[CONTROLQ].pop_used()
        assert struct.unpack_from("<I", rig.memory.read(place, 4))[0] == OK
        assert await rig.scan_out(1, WHOLE) == OK
        assert rig.picture() == b"\x11\x22\x33\xff" * (SIDE * SIDE)


@pytest.mark.parametrize("command", [TRANSFER, SCANOUT])
async def test_a_reset_in_the_middle_of_a_copy(command: Command) -> None:
    """It ends the copy: nothing is answered or shown, and the device is usable at once."""
    body = (
        spec.TRANSFER_TO_HOST_2D.pack(*WHOLE, 0, 1)
        if command == TRANSFER
        else spec.SET_SCANOUT.pack(*WHOLE, 0, 1)
    )
    async with gpu_rig() as rig:
        for _ in range(5):
            await large(rig)
            place = rig.post(request(command, body))
            await rig.script.put(mmio.QUEUE_NOTIFY, CONTROLQ)
            assert not rig.model.is_stopped(CONTROLQ)
            await rig.bring_up()
            assert rig.model.scanouts[0].picture is None
            assert len(rig.model.resources) == 0
            await rig.show(2, 8, 8, b"\x01" * 256)
            assert rig.picture() == opaque(b"\x01" * 256)
            assert rig.memory.read(place, 4) == bytes(4)
            assert rig.model.scanouts[0].flushes == 0
            rig.script.ram.pages.release(place)


async def test_a_reset_of_the_control_queue_alone() -> None:
    """In the middle of a copy: the cursor queue goes on, and resources stay."""
    async with gpu_rig() as rig:
        await large(rig)
        place = rig.post(request(TRANSFER, spec.TRANSFER_TO_HOST_2D.pack(*WHOLE, 0, 1)))
        await rig.script.put(mmio.QUEUE_NOTIFY, CONTROLQ)
        await rig.script.put(mmio.QUEUE_SEL, CONTROLQ)
        await rig.script.put(mmio.QUEUE_RESET, 1)
        while await rig.script.get(mmio.QUEUE_RESET):  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0)
        assert rig.memory.read(place, 4) == bytes(4)
        assert (await rig.point(Command.VIRTIO_GPU_CMD_MOVE_CURSOR, 1, 1)).response == OK
        await rig.script.set_up_queue(CONTROLQ)
        assert await rig.transfer(1, WHOLE) == OK
        assert await rig.unref(1) == OK


async def test_commands_behind_a_copy_wait_for_it() -> None:
    """So that a driver may send a whole frame at once: they are carried out in order."""
    async with gpu_rig() as rig:
        await large(rig)
        places = [
            rig.post(request(TRANSFER, spec.TRANSFER_TO_HOST_2D.pack(*WHOLE, 0, 1))),
            rig.post(request(SCANOUT, spec.SET_SCANOUT.pack(*WHOLE, 0, 1))),
            rig.post(
                request(
                    Command.VIRTIO_GPU_CMD_RESOURCE_UNREF,
                    spec.RESOURCE_ID.pack(1),
                )
            ),
        ]
        await rig.script.put(mmio.QUEUE_NOTIFY, CONTROLQ)
        queue, used = rig.script.queues[CONTROLQ], 0
        while used < len(places):
            await rig.script.used(CONTROLQ)
            used += len(queue.pop_used())
        answers = [struct.unpack_from("<I", rig.memory.read(place, 4))[0] for place in places]
        assert answers == [OK, OK, OK]
        assert rig.model.scanouts[0].picture is None


async def test_a_device_that_is_closed_in_the_middle_of_a_copy() -> None:
    """It does not wait for the driver."""
    async with gpu_rig() as rig:
        await large(rig)
        rig.post(request(TRANSFER, spec.TRANSFER_TO_HOST_2D.pack(*WHOLE, 0, 1)))
        await rig.script.put(mmio.QUEUE_NOTIFY, CONTROLQ)
        rig.device.begin_reset()
        assert await rig.device.reset_done(20)


SMALL = st.sampled_from([0, 1, 2, 7, 8, 64, 4096, 1 << 31, 0xFFFF_FFFF])
WORDS = st.lists(st.one_of(SMALL, st.integers(0, 0xFFFF_FFFF)), max_size=20)


@pytest.mark.parametrize("command", [*Command, 0x0200, 0x9999])
async def test_any_bytes_behind_any_header(command: int) -> None:
    """Every one is answered with a known response, or given back unused; the queues go on."""
    queue = CURSORQ if command >> 8 == 3 else CONTROLQ
    async with gpu_rig(memory_max=1 << 20) as rig:
        page = rig.pages(bytes(4096))
        await rig.show(1, 8, 8, bytes(256))
        await rig.draw(2, 64, 64, bytes(64 * 64 * 4))
        loop, tries = asyncio.get_running_loop(), []

        @settings(
            max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), database=None
        )
        @given(words=WORDS, tail=st.binary(max_size=3), header=st.tuples(SMALL, SMALL))
        def collect(words: list[int], tail: bytes, header: tuple[int, int]) -> None:
            body = struct.pack(f"<{len(words)}I", *words) + tail + entries([(page, 64)])
            tries.append(spec.CTRL_HDR.pack(command, header[0], header[1], 0, 0) + body)

        await loop.run_in_executor(None, collect)
        for one in tries:
            written, answer = await rig.raw(one, queue=queue)
            response = struct.unpack_from("<I", answer)[0]
            assert not written or response in set(Response)
            assert not rig.needs_reset
            assert rig.model.resources.memory <= 1 << 20
        for alive in (CONTROLQ, CURSORQ):
            got = await rig.ask(0x9998, bytes(32), queue=alive)
            assert got == Response.VIRTIO_GPU_RESP_ERR_UNSPEC
