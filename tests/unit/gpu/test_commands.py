"""Commands with bad input, through real rings: each has its response, and the queue goes on."""

from __future__ import annotations

import pytest

from tests.support.gpu_rig import ANSWER, BGRX, OK, GpuRig, entries, gpu_rig
from virtmesh.gpu.resources import COUNT_MAX, ENTRIES_MAX, SIDE_MAX
from virtmesh.gpu.settings import OFFERED
from virtmesh_common.gpu import spec
from virtmesh_common.gpu.spec import CONTROLQ, CURSORQ, Command, GpuFeature, Response

UNSPEC = Response.VIRTIO_GPU_RESP_ERR_UNSPEC
OUT_OF_MEMORY = Response.VIRTIO_GPU_RESP_ERR_OUT_OF_MEMORY
NO_SCANOUT = Response.VIRTIO_GPU_RESP_ERR_INVALID_SCANOUT_ID
NO_RESOURCE = Response.VIRTIO_GPU_RESP_ERR_INVALID_RESOURCE_ID
PARAMETER = Response.VIRTIO_GPU_RESP_ERR_INVALID_PARAMETER
BIG = 0xFFFF_FFFF
WHOLE = (0, 0, 8, 8)
BYTES = 8 * 8 * 4
WITHOUT_BODY = {0x0100, 0x0108, 0x0109, 0x010B}
"""The command that is a header alone, and those of 3D."""


async def small(rig: GpuRig, number: int = 1) -> int:
    """Make a resource of 8x8 pixels with a backing; return the address of that."""
    return await rig.draw(number, 8, 8, bytes(BYTES))


@pytest.mark.parametrize(
    ("width", "height", "response"),
    [
        (0, 0, PARAMETER),
        (0, 1, PARAMETER),
        (1, 0, PARAMETER),
        (65536, 65536, PARAMETER),
        (SIDE_MAX + 1, 1, PARAMETER),
        (BIG, BIG, PARAMETER),
        (SIDE_MAX, SIDE_MAX, OUT_OF_MEMORY),
        (SIDE_MAX, 1, OK),
    ],
)
async def test_sizes_of_a_resource(width: int, height: int, response: int) -> None:
    """One that is refused is not there."""
    async with gpu_rig() as rig:
        assert await rig.create(1, width, height) == response
        assert await rig.unref(1) == (OK if response == OK else NO_RESOURCE)
        assert rig.model.resources.memory == 0


@pytest.mark.parametrize("pixels", [0, 5, 66, 69, 120, 122, 135, BIG])
async def test_unknown_formats_are_refused(pixels: int) -> None:
    """Of a resource, and of a blob that is shown."""
    async with gpu_rig() as rig:
        assert await rig.create(1, 8, 8, pixels) == PARAMETER


async def test_a_number_is_that_of_one_resource() -> None:
    """0 is none: it disables a scanout."""
    async with gpu_rig() as rig:
        assert await rig.create(0, 8, 8) == NO_RESOURCE
        assert await rig.create(7, 8, 8) == OK
        assert await rig.create(7, 9, 9) == NO_RESOURCE
        assert await rig.create(BIG, 8, 8) == OK
        assert len(rig.model.resources) == 2


async def test_resources_take_no_more_memory_than_they_may() -> None:
    """What is destroyed can be used again; so can everything after a reset."""
    async with gpu_rig(memory_max=64 * 48 * 4) as rig:
        assert await rig.create(1, 64, 24) == OK
        assert await rig.create(2, 64, 24) == OK
        assert await rig.create(3, 1, 1) == OUT_OF_MEMORY
        assert await rig.unref(1) == OK
        assert await rig.create(3, 64, 24) == OK
        await rig.bring_up()
        assert await rig.create(1, 64, 48) == OK
        assert rig.model.resources.memory == 64 * 48 * 4


async def test_there_are_so_many_resources_at_most() -> None:
    """Whatever their size: each costs memory beside its pixels."""
    async with gpu_rig() as rig:
        for number in range(1, COUNT_MAX):
            rig.model.resources.create(number, BGRX, 1, 1)
        assert await rig.create(COUNT_MAX, 1, 1) == OK
        assert await rig.create(COUNT_MAX + 1, 1, 1) == OUT_OF_MEMORY
        assert await rig.unref(1) == OK
        assert await rig.create(COUNT_MAX + 1, 1, 1) == OK


async def test_a_backing_lies_in_guest_memory() -> None:
    """Each piece of it, however many there are; empty ones are left out."""
    async with gpu_rig() as rig:
        assert await rig.create(1, 8, 8) == OK
        address = rig.pages(bytes(BYTES))
        end = rig.script.ram.address + rig.script.ram.size
        for pieces in (
            [(0, 16)],
            [(end - 8, 16)],
            [(address, 16), (1 << 63, 1)],
            [(address, 16), (2**64 - 1, BIG)],
        ):
            assert await rig.attach(1, pieces) == PARAMETER
        assert await rig.attach(1, [(address, 0), (address, BYTES), (0, 0)]) == OK
        assert await rig.attach(1, [(address, BYTES)]) == UNSPEC
        assert await rig.detach(1) == OK
        assert await rig.detach(1) == UNSPEC
        assert await rig.attach(2, [(address, BYTES)]) == NO_RESOURCE
        assert await rig.detach(2) == NO_RESOURCE


async def test_entries_that_are_not_there() -> None:
    """More than follow the request, and more than any backing may have."""
    async with gpu_rig() as rig:
        assert await rig.create(1, 8, 8) == OK
        address, command = rig.pages(bytes(64)), Command.VIRTIO_GPU_CMD_RESOURCE_ATTACH_BACKING
        one = entries([(address, 64)])
        for count in (2, ENTRIES_MAX, ENTRIES_MAX + 1, BIG):
            body = spec.RESOURCE_ATTACH_BACKING.pack(1, count) + one
            assert await rig.ask(command, body) == PARAMETER
        many = entries([(address, 4)] * (ENTRIES_MAX - 1)) + one
        body = spec.RESOURCE_ATTACH_BACKING.pack(1, ENTRIES_MAX) + many
        assert await rig.ask(command, body) == OK
        assert await rig.transfer(1, WHOLE) == OK


async def test_a_backing_that_does_not_cover() -> None:
    """What it has can be transferred, and no byte more."""
    async with gpu_rig() as rig:
        assert await rig.transfer(1, WHOLE) == NO_RESOURCE
        assert await rig.create(1, 8, 8) == OK
        assert await rig.transfer(1, WHOLE) == UNSPEC
        address = rig.pages(bytes(BYTES))
        assert await rig.attach(1, [(address, BYTES - 32)]) == OK
        assert await rig.transfer(1, WHOLE) == PARAMETER
        assert await rig.transfer(1, (0, 0, 8, 7)) == OK
        assert await rig.transfer(1, (0, 0, 8, 7), 1) == PARAMETER
        for offset in (2**63, 2**64 - 1):
            assert await rig.transfer(1, (0, 0, 1, 1), offset) == PARAMETER
        assert not rig.needs_reset


@pytest.mark.parametrize(
    "place",
    [
        (0, 0, 9, 8),
        (1, 0, 8, 8),
        (0, 8, 8, 1),
        (BIG, BIG, BIG, BIG),
        (1, 1, BIG, BIG),
    ],
)
async def test_rectangles_that_are_outside(place: tuple[int, int, int, int]) -> None:
    """Of a transfer, a flush and a scanout; what is shown stays."""
    async with gpu_rig() as rig:
        await small(rig)
        assert await rig.scan_out(1, WHOLE) == OK
        assert await rig.transfer(1, place) == PARAMETER
        assert await rig.flush(1, place) == PARAMETER
        assert await rig.scan_out(1, place) == PARAMETER
        assert (rig.model.scanouts[0].flushes, len(rig.picture())) == (0, BYTES)


@pytest.mark.parametrize("place", [(0, 0, 0, 0), (0, 0, 8, 0), (BIG, BIG, 0, BIG)])
async def test_rectangles_without_pixels(place: tuple[int, int, int, int]) -> None:
    """There is nothing to transfer or to flush; a scanout shows nothing of that kind."""
    async with gpu_rig() as rig:
        await small(rig)
        assert await rig.scan_out(1, WHOLE) == OK
        assert await rig.transfer(1, place) == OK
        assert await rig.flush(1, place) == OK
        assert await rig.scan_out(1, place) == PARAMETER
        assert rig.model.scanouts[0].flushes == 0


async def test_numbers_that_are_none() -> None:
    """Of resources, and of scanouts."""
    async with gpu_rig(scanouts=2) as rig:
        await small(rig)
        for scanout in (2, 15, 16, BIG):
            assert await rig.scan_out(1, WHOLE, scanout) == NO_SCANOUT
            assert await rig.scan_out(0, WHOLE, scanout) == NO_SCANOUT
            body = spec.GET_EDID.pack(scanout)
            assert await rig.ask(Command.VIRTIO_GPU_CMD_GET_EDID, body) == NO_SCANOUT
            move = Command.VIRTIO_GPU_CMD_MOVE_CURSOR
            assert (await rig.point(move, 0, 0, scanout=scanout)).response == NO_SCANOUT
        assert await rig.scan_out(9, WHOLE) == NO_RESOURCE
        assert await rig.flush(9, WHOLE) == NO_RESOURCE
        assert await rig.unref(9) == NO_RESOURCE
        assert await rig.unref(0) == NO_RESOURCE


async def test_a_resource_that_is_destroyed_while_it_is_shown() -> None:
    """Its scanouts show nothing; the others go on."""
    async with gpu_rig(scanouts=2) as rig:
        await small(rig, 1)
        await small(rig, 2)
        for scanout in (0, 1):
            assert await rig.scan_out(scanout + 1, WHOLE, scanout) == OK
        assert await rig.unref(1) == OK
        assert rig.model.scanouts[0].picture is None
        assert await rig.flush(1, WHOLE) == NO_RESOURCE
        assert await rig.flush(2, WHOLE) == OK
        assert len(rig.picture(1)) == BYTES


@pytest.mark.parametrize("fence", [None, 0, 1, 2**64 - 1])
async def test_a_fence_comes_back(fence: int | None) -> None:
    """With answers and with refusals, on both queues; without one there is none."""
    move = spec.UPDATE_CURSOR.pack(0, 1, 1, 0, 0, 0)
    async with gpu_rig() as rig:
        for command, body, queue in (
            (Command.VIRTIO_GPU_CMD_GET_DISPLAY_INFO, b"", CONTROLQ),
            (Command.VIRTIO_GPU_CMD_RESOURCE_UNREF, spec.RESOURCE_ID.pack(5), CONTROLQ),
            (Command.VIRTIO_GPU_CMD_MOVE_CURSOR, move, CURSORQ),
            (0x0105, move, CURSORQ),
        ):
            got = await rig.send(command, body, queue=queue, fence=fence)
            assert (got.flags, got.fence) == ((0, 0) if fence is None else (1, fence))


@pytest.mark.parametrize("command", [0, 0xFF, 0x0108, 0x0109, 0x010B, 0x0200, 0x0300, 0x1100, BIG])
async def test_unknown_commands(command: int) -> None:
    """And those of 3D, which the device does not offer; cursor commands have their own queue."""
    async with gpu_rig() as rig:
        assert await rig.ask(command, bytes(64)) == UNSPEC
        assert await rig.ask(Command.VIRTIO_GPU_CMD_GET_DISPLAY_INFO) == (
            Response.VIRTIO_GPU_RESP_OK_DISPLAY_INFO
        )
        assert await rig.ask(0x0100, bytes(64), queue=CURSORQ) == UNSPEC


async def test_features_that_were_not_negotiated() -> None:
    """Their commands are refused."""
    plain = int(OFFERED) & ~int(
        GpuFeature.VIRTIO_GPU_F_EDID | GpuFeature.VIRTIO_GPU_F_RESOURCE_BLOB
    )
    async with gpu_rig(features=plain) as rig:
        for command in (
            Command.VIRTIO_GPU_CMD_GET_EDID,
            Command.VIRTIO_GPU_CMD_RESOURCE_CREATE_BLOB,
            Command.VIRTIO_GPU_CMD_SET_SCANOUT_BLOB,
        ):
            assert await rig.ask(command, bytes(96)) == UNSPEC
        assert rig.broken == ["gpu-command-feature"]


@pytest.mark.parametrize("command", [one for one in Command if one not in WITHOUT_BODY])
async def test_short_requests(command: Command) -> None:
    """With nothing behind the header, and with a byte too few for the shortest body."""
    queue = CURSORQ if command >= Command.VIRTIO_GPU_CMD_UPDATE_CURSOR else CONTROLQ
    async with gpu_rig() as rig:
        for length in (0, 7):
            assert await rig.ask(command, bytes(length), queue=queue) == UNSPEC
        assert rig.broken == ["gpu-request"]


@pytest.mark.parametrize("queue", [CONTROLQ, CURSORQ])
@pytest.mark.parametrize("length", [0, 1, 23])
async def test_a_request_without_a_whole_header(queue: int, length: int) -> None:
    """It is given back unused, and counted; the next one is answered."""
    async with gpu_rig() as rig:
        assert await rig.raw(bytes(length), queue=queue) == (0, bytes(ANSWER))
        assert rig.model.counters[queue].malformed == 1
        assert await rig.ask(0, queue=queue) == UNSPEC
        assert (rig.broken, rig.needs_reset) == (["gpu-request"], False)


async def test_no_room_for_an_answer() -> None:
    """Less than a header: given back unused. Less than the answer: its beginning, as of QEMU."""
    info = spec.CTRL_HDR.pack(Command.VIRTIO_GPU_CMD_GET_DISPLAY_INFO, 0, 0, 0, 0)
    async with gpu_rig() as rig:
        for room in (0, 1, 23):
            assert await rig.raw(info, room=room) == (0, bytes(room))
        payload = spec.VIRTIO_GPU_MAX_SCANOUTS * spec.DISPLAY_ONE.size
        for room in (24, 24 + payload - 1):
            got = await rig.send(Command.VIRTIO_GPU_CMD_GET_DISPLAY_INFO, room=room)
            assert got.response == Response.VIRTIO_GPU_RESP_OK_DISPLAY_INFO
            assert got.written == room
        got = await rig.send(Command.VIRTIO_GPU_CMD_GET_DISPLAY_INFO, room=24 + payload)
        assert got.response == Response.VIRTIO_GPU_RESP_OK_DISPLAY_INFO
        assert rig.broken == ["gpu-request"]


async def test_display_info_and_edid() -> None:
    """Screens beside each other; one that is disconnected takes no place."""
    async with gpu_rig(scanouts=3) as rig:
        rig.model.set_mode(1, None)
        got = await rig.send(Command.VIRTIO_GPU_CMD_GET_DISPLAY_INFO)
        rows = list(spec.DISPLAY_ONE.iter_unpack(got.payload))
        assert len(rows) == 16
        assert rows[:4] == [(0, 0, 64, 48, 1, 0), (0,) * 6, (64, 0, 64, 48, 1, 0), (0,) * 6]
        got = await rig.send(Command.VIRTIO_GPU_CMD_GET_EDID, spec.GET_EDID.pack(2))
        size, edid = spec.RESP_EDID.unpack(got.payload)
        assert (size, edid[:8].hex(), sum(edid[:128]) % 256) == (128, "00ffffffffffff00", 0)
        assert edid[128:] == bytes(1024 - 128)
