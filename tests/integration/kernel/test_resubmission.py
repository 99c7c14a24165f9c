"""A disk whose service dies and comes back: what it had is carried out, or says why not."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.disk_callers import BLOCK, SOON_S, Caller, holding, reviving, work_of
from tests.support.world import World, failure_of, serving
from virtmesh.blk.lasting import LastingDisk, Patience, PatientDisk
from virtmesh.blk.request import SLOTS_MAX
from virtmesh.testing.scripted_disk import ScriptedDisk
from virtmesh.virtio.mmio_device import VirtioMmio
from virtmesh_common.api.kernel.v1 import kernel_pb2
from virtmesh_common.api.kernel.v1.kernel_pb2_grpc import KernelServiceStub
from virtmesh_common.blk import spec as blk
from virtmesh_common.blk.spec import RequestType
from virtmesh_common.errors import DeviceLost, DeviceNotReady, ShuttingDown, VirtmeshError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.disk_callers import Call

IN, OUT = RequestType.VIRTIO_BLK_T_IN, RequestType.VIRTIO_BLK_T_OUT
FLUSH = RequestType.VIRTIO_BLK_T_FLUSH
PATIENCE_S = 600.0
DISCARD = RequestType.VIRTIO_BLK_T_DISCARD
ZERO = RequestType.VIRTIO_BLK_T_WRITE_ZEROES


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Serve a kernel of one disk, which is not there yet."""
    async with serving(tmp_path, {"vda": "blk"}) as world:
        yield world


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (Caller.read, IN),
        (Caller.write, OUT),
        (Caller.flush, FLUSH),
        (Caller.discard, DISCARD),
        (Caller.zero, ZERO),
    ],
)
async def test_what_was_in_flight_is_completed_by_the_next_service(
    world: World, call: Call, kind: RequestType
) -> None:
    """Its caller sees no more than a pause, and the request arrives once more."""
    async with holding(world) as first:
        calling = asyncio.create_task(call(Caller(world)))
        await first.arrived(1)
    assert not calling.done()

    second = ScriptedDisk()
    async with world.serve_scripted(second), asyncio.timeout(SOON_S):
        await calling
    assert work_of(second) == [(kind, 0)]
    assert world.server.kernel.device("vda").resubmitted == 1


async def test_the_data_of_a_read_is_that_of_the_next_service(world: World) -> None:
    """What the dead one may have written to memory is not taken for it."""
    async with holding(world) as first:
        reading = asyncio.create_task(Caller(world).read())
        await first.arrived(1)
    second = ScriptedDisk()
    second.data[:BLOCK] = b"x" * BLOCK
    async with world.serve_scripted(second), asyncio.timeout(SOON_S):
        assert await reading == b"x" * BLOCK


async def test_without_patience_a_loss_is_told_at_once(world: World) -> None:
    """A caller that asks for no retry hears DEVICE_LOST, and DEVICE_NOT_READY while it is away."""
    async with holding(world) as first:
        reading = asyncio.create_task(Caller(world, 0).read())
        await first.arrived(1)
    assert isinstance(await failure_of(reading), DeviceLost)
    assert isinstance(await failure_of(Caller(world, 0).read()), DeviceNotReady)


async def test_patience_ends(world: World) -> None:
    """A disk that stays away fails what waits for it: what it had, and what came later."""
    async with holding(world) as first:
        impatient = asyncio.create_task(Caller(world, 300).flush())
        patient = asyncio.create_task(Caller(world).read())
        await first.arrived(2)
    async with asyncio.timeout(SOON_S):
        assert isinstance(await failure_of(impatient), DeviceLost)
        assert isinstance(await failure_of(Caller(world, 300).read()), DeviceNotReady)
    assert not patient.done()

    async with world.serve_scripted(ScriptedDisk()), asyncio.timeout(SOON_S):
        assert await patient == bytes(BLOCK)


async def test_a_call_waits_for_a_disk_that_is_not_there_yet(world: World) -> None:
    """Also for one that has never been there."""
    calling = asyncio.create_task(Caller(world).write())
    second = ScriptedDisk()
    async with world.serve_scripted(second), asyncio.timeout(SOON_S):
        await calling
    assert second.data[:BLOCK] == b"w" * BLOCK


async def test_writes_of_the_same_range_keep_their_order(world: World) -> None:
    """The later one waits for the earlier one, through a death as well."""
    async with holding(world) as first:
        writes = [
            asyncio.create_task(Caller(world).write(100, bytes([number]) * 1000))
            for number in range(4)
        ]
        await first.arrived(2)  # The blocks at both ends, which are read first.
    second = ScriptedDisk()
    async with world.serve_scripted(second), asyncio.timeout(SOON_S):
        await asyncio.gather(*writes)
        order = [one.out[200:201] for one in second.seen if one.type == OUT and one.sector == 0]
    assert len(order) == 4
    assert second.data[100:1100] == order[-1] * 1000
    assert second.data[:100] == bytes(100)


async def test_what_waits_for_a_slot_goes_behind_what_was_in_flight(world: World) -> None:
    """More requests than slots: each is carried out once by the next service, in its order."""
    count = 2 * SLOTS_MAX
    async with holding(world) as first:
        reads: list[asyncio.Task[bytes]] = []
        for number in range(count):
            reads.append(asyncio.create_task(Caller(world).read(number * BLOCK)))
            await first.arrived(min(number + 1, SLOTS_MAX))
        before = work_of(first)
    second = ScriptedDisk()
    second.data[:] = b"".join(bytes([number % 256]) * BLOCK for number in range(256))
    async with world.serve_scripted(second), asyncio.timeout(SOON_S):
        found = await asyncio.gather(*reads)
    assert found == [bytes([number]) * BLOCK for number in range(count)]
    assert work_of(second)[: len(before)] == before
    assert sorted(work_of(second)) == [(IN, number) for number in range(count)]


async def test_a_second_death_changes_nothing(world: World) -> None:
    """What began again begins once more."""
    async with holding(world) as first:
        calls = [asyncio.create_task(Caller(world).read(n * BLOCK)) for n in range(3)]
        await first.arrived(3)
    async with reviving(world) as second:
        await second.arrived(3)
    third = ScriptedDisk()
    async with world.serve_scripted(third), asyncio.timeout(SOON_S):
        await asyncio.gather(*calls)
    assert sorted(work_of(third)) == sorted(work_of(first))
    assert world.server.kernel.device("vda").resubmitted == 6


async def test_a_flush_begins_again_behind_the_writes_that_were_in_flight(world: World) -> None:
    """It covers what had completed before it, in whichever process, and comes in its turn."""
    done = ScriptedDisk()
    async with world.serve_scripted(done):
        await world.ready("vda")
        await Caller(world).write(0)
        done.hold = True
        write = asyncio.create_task(Caller(world).write(BLOCK))
        await done.arrived(1)
        flush = asyncio.create_task(Caller(world).flush())
        await done.arrived(2)
    second = ScriptedDisk()
    async with world.serve_scripted(second), asyncio.timeout(SOON_S):
        await asyncio.gather(write, flush)
    assert work_of(second) == [(OUT, 1), (FLUSH, 0)]


@pytest.mark.parametrize("order", ["ResetDevice", "DetachDevice"])
async def test_an_order_ends_requests_all_the_same(world: World, order: str) -> None:
    """Somebody wants them ended: those in flight, and those that wait for a slot."""
    kernel: Any = KernelServiceStub(world.channel)
    lasting = LastingDisk("vda", world.server.kernel.device("vda"))
    model = ScriptedDisk()
    async with world.serve_scripted(model):
        await world.ready("vda")
        model.hold = True
        disk = PatientDisk(lasting, await lasting.driver(Patience(0)), SOON_S)
        reads = [disk.read_block(number, bytearray(BLOCK)) for number in range(2 * SLOTS_MAX)]
        calls = [asyncio.create_task(reading) for reading in reads]
        await model.arrived(SLOTS_MAX)
        model.hold = False
        request = getattr(kernel_pb2, f"{order}Request")(device="vda")
        await getattr(kernel, order)(request)
        async with asyncio.timeout(SOON_S):
            ended = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(one) for one in ended} == {DeviceLost}
    assert world.server.kernel.device("vda").resubmitted == 0


async def test_nobody_writes_to_the_memory_of_a_caller_who_is_gone(world: World) -> None:
    """What such a caller read does not begin again; what others do goes on."""
    device = world.server.kernel.device("vda")
    lasting = LastingDisk("vda", device)
    memory, kept = bytearray(BLOCK), bytearray(BLOCK)
    async with holding(world) as first:
        disk = PatientDisk(lasting, await lasting.driver(Patience(0)), SOON_S)
        gone = asyncio.create_task(disk.read_block(0, memory))
        stays = asyncio.create_task(disk.read_block(1, kept))
        await first.arrived(2)
        gone.cancel()
        with suppress(asyncio.CancelledError):
            await gone
    second = ScriptedDisk()
    second.data[:] = b"x" * len(second.data)
    async with world.serve_scripted(second), asyncio.timeout(SOON_S):
        await stays
        assert len(await Caller(world).read()) == BLOCK
    assert (memory, kept) == (bytearray(BLOCK), bytearray(b"x" * BLOCK))
    assert work_of(second)[0] == (IN, 1)
    assert work_of(second).count((IN, 0)) == 1


async def test_a_kernel_that_stops_waits_for_no_disk(world: World) -> None:
    """What waits ends."""
    async with holding(world) as first:
        reading = asyncio.create_task(Caller(world).read())
        await first.arrived(1)
    later = asyncio.create_task(Caller(world).read())
    async with asyncio.timeout(SOON_S):
        await world.server.stop()
        assert isinstance(await failure_of(reading), ShuttingDown)
        assert isinstance(await failure_of(later), VirtmeshError)


async def test_who_waits_for_a_disk_hears_at_once_that_the_kernel_stops(world: World) -> None:
    """Not that the disk is away: a client with patience then asks the next kernel service."""
    disk = LastingDisk("vda", world.server.kernel.device("vda"))
    waiting = asyncio.create_task(disk.driver(Patience(PATIENCE_S)))
    await asyncio.sleep(0)
    assert not waiting.done()
    disk.stop()
    async with asyncio.timeout(SOON_S):
        with pytest.raises(ShuttingDown, match="the kernel stops"):
            await waiting


async def test_a_reset_ends_what_waits_for_a_lost_disk(world: World) -> None:
    """Calls that come later go on waiting for it."""
    kernel: Any = KernelServiceStub(world.channel)
    async with holding(world) as first:
        reading = asyncio.create_task(Caller(world).read())
        await first.arrived(1)
    later = asyncio.create_task(Caller(world).read())
    resetting = asyncio.ensure_future(
        kernel.ResetDevice(kernel_pb2.ResetDeviceRequest(device="vda"))
    )
    async with asyncio.timeout(SOON_S):
        assert isinstance(await failure_of(reading), DeviceLost)
        async with world.serve_scripted(ScriptedDisk()):
            await resetting
            assert await later == bytes(BLOCK)


async def test_a_disk_that_comes_back_broken_ends_what_waits(world: World) -> None:
    """Nothing but a person mends that: the error says what is wrong."""
    async with holding(world) as first:
        reading = asyncio.create_task(Caller(world).read())
        await first.arrived(1)
    async with world.serve(VirtioMmio(ScriptedDisk(name="other")), "vda"), asyncio.timeout(SOON_S):
        error = await failure_of(reading)
    assert isinstance(error, DeviceLost)
    assert "is other, not vda" in error.message


async def test_a_long_write_under_way_is_finished_when_the_kernel_stops(world: World) -> None:
    """All of its requests, also those that have not begun yet."""
    lasting = LastingDisk("vda", world.server.kernel.device("vda"))
    model = ScriptedDisk(config={blk.SIZE_MAX: BLOCK, blk.SEG_MAX: 1})
    async with world.serve_scripted(model):
        await world.ready("vda")
        model.hold = True
        disk = PatientDisk(lasting, await lasting.driver(Patience(0)), SOON_S)
        writing = disk.begin_write(0, b"w" * (2 * SLOTS_MAX * BLOCK))
        await model.arrived(1)
        lasting.stop()
        stopping = asyncio.create_task(world.server.kernel.stop())
        async with asyncio.timeout(SOON_S):
            for _ in range(2 * SLOTS_MAX):
                model.answer((await model.arrived(1))[0])
            await writing
            await stopping
    assert model.data[: 2 * SLOTS_MAX * BLOCK] == b"w" * (2 * SLOTS_MAX * BLOCK)


async def test_what_a_disk_had_when_the_kernel_stops_is_left_to_the_next_kernel(
    world: World,
) -> None:
    """In flight, or waiting for a slot: the disk was not lost, and clients ask again."""
    lasting = LastingDisk("vda", world.server.kernel.device("vda"))
    model = ScriptedDisk()
    async with world.serve_scripted(model), asyncio.timeout(SOON_S):
        await world.ready("vda")
        model.hold = True
        disk = PatientDisk(lasting, await lasting.driver(Patience(0)), SOON_S)
        reads = [asyncio.create_task(disk.read(0, BLOCK)) for _ in range(2 * SLOTS_MAX)]
        await model.arrived(SLOTS_MAX)
        lasting.stop()
        await world.server.kernel.stop()
        ends = await asyncio.gather(*reads, return_exceptions=True)
    assert {type(one) for one in ends} == {ShuttingDown}
