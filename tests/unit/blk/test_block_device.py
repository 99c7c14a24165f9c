"""BlockDevice: ranges on top of whole blocks, by the driver on a scripted disk."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.scripted_blk import driving, small_disk
from virtmesh.blk.request import SLOTS_MAX
from virtmesh.testing.scripted_disk import FEATURES, ScriptedDisk
from virtmesh_common.blk.errors import (
    BlockIOError,
    BlockReadOnly,
    BlockUnsupported,
    PastEnd,
    Unaligned,
)
from virtmesh_common.blk.spec import BlkFeature, RequestType
from virtmesh_common.errors import VirtmeshError

BLOCKS = 64
IN, OUT = RequestType.VIRTIO_BLK_T_IN, RequestType.VIRTIO_BLK_T_OUT
DISCARD = RequestType.VIRTIO_BLK_T_DISCARD
WRITE_ZEROES = RequestType.VIRTIO_BLK_T_WRITE_ZEROES


def log_of(model: ScriptedDisk) -> list[tuple[int, int, int]]:
    """Return the reads and writes that arrived: type, first sector, number of sectors."""
    return [(one.type, one.sector, len(one.sectors)) for one in model.seen]


async def settle() -> None:
    """Let every task run until it waits."""
    for _ in range(5):
        await asyncio.sleep(0)


ranges = st.tuples(st.integers(0, BLOCKS * 512), st.integers(0, 9000)).map(
    lambda pair: (pair[0], min(pair[1], BLOCKS * 512 - pair[0]))
)


@given(st.lists(st.tuples(st.booleans(), ranges), max_size=12))
def test_any_ranges_behave_like_a_bytearray(steps: list[tuple[bool, tuple[int, int]]]) -> None:
    """Reads and writes at odd offsets and lengths do what they do to plain memory."""

    async def play() -> None:
        model = small_disk()
        plain = bytearray(model.data)
        async with driving(model) as disk:
            for number, (is_write, (offset, length)) in enumerate(steps):
                if is_write:
                    data = random.Random(number).randbytes(length)  # noqa: S311 - a pattern
                    await disk.write(offset, data)
                    plain[offset : offset + length] = data
                assert bytes(await disk.read(offset, length)) == plain[offset : offset + length]
            assert model.data == plain

    asyncio.run(play())


async def test_requests_are_split_and_run_side_by_side() -> None:
    """No request is larger than the disk takes, and as many are in flight as there are slots."""
    model = small_disk(request_max=512)
    model.hold = True
    async with driving(model) as disk:
        read = asyncio.create_task(disk.read(0, disk.capacity))
        held = await model.arrived(SLOTS_MAX)
        await settle()

        assert disk.in_flight == len(held) == SLOTS_MAX
        model.hold = False
        for request in held:
            model.answer(request)
        assert bytes(await read) == model.data
        assert {length for _, _, length in log_of(model)} == {1}


async def test_a_short_read_is_not_held_up_by_a_long_one() -> None:
    """It gets the next slot that comes free, though the long one still wants many."""
    model = small_disk(request_max=512)
    model.hold = True
    async with driving(model) as disk:
        long = asyncio.create_task(disk.read(0, disk.capacity))
        first, *_ = await model.arrived(SLOTS_MAX)
        short = asyncio.create_task(disk.read(63 * 512, 512))
        await settle()
        for _ in range(2):
            model.answer(model.held[0])
            await settle()

        assert [request.sector for request in model.held[-2:]] == [SLOTS_MAX, 63]
        model.answer(model.held[-1])
        assert bytes(await short) == model.data[63 * 512 :]
        assert not long.done()
        assert first not in model.held


async def test_whole_blocks_are_not_read_before_they_are_written() -> None:
    """Only the partial blocks at the ends are read and rewritten."""
    model = small_disk()
    async with driving(model) as disk:
        await disk.write(100, bytes(1500))

        assert sorted(log_of(model)) == [
            *[(IN, 0, 1), (IN, 3, 1), (OUT, 0, 1), (OUT, 1, 2), (OUT, 3, 1)]
        ]


async def test_neighbours_in_one_block_never_undo_each_other() -> None:
    """A hundred tasks write parts of the same blocks at once; every byte arrives."""
    model = small_disk(block_size=4096, request_max=8192)
    size = 777
    async with driving(model) as disk:
        await asyncio.gather(
            *(disk.write(number * size, bytes([number]) * size) for number in range(100))
        )

        expected = b"".join(bytes([number]) * size for number in range(100))
        assert model.data[: len(expected)] == expected


async def test_a_whole_block_write_is_not_undone_by_a_partial_one() -> None:
    """A full write that comes while a block is being rewritten waits for it."""
    model = small_disk()
    model.hold = True
    async with driving(model) as disk:
        partial = asyncio.create_task(disk.write(10, b"partial"))
        whole = asyncio.create_task(disk.write(0, b"W" * 512))
        (read,) = await model.arrived(1)
        await settle()

        assert model.held == [read]
        model.hold = False
        model.answer(read)
        await asyncio.gather(partial, whole)
        assert model.data[:512] == b"W" * 512


async def test_a_cancelled_write_keeps_its_blocks_until_it_is_done() -> None:
    """The next writer of the range can't be overtaken by what is still on its way."""
    model = small_disk()
    model.hold = True
    async with driving(model) as disk:
        first = asyncio.create_task(disk.write(0, b"1" * 512))
        (held,) = await model.arrived(1)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        second = asyncio.create_task(disk.write(0, b"2" * 512))
        await settle()

        assert model.held == [held]
        model.hold = False
        model.answer(held)
        await second

        assert log_of(model) == [(OUT, 0, 1), (OUT, 0, 1)]
        assert model.data[:512] == b"2" * 512


async def test_a_cancelled_write_ends_whole() -> None:
    """What had no slot yet when the caller went away is written all the same."""
    model = small_disk(request_max=512)
    model.hold = True
    async with driving(model) as disk:
        write = asyncio.create_task(disk.write(0, b"w" * disk.capacity))
        held = await model.arrived(SLOTS_MAX)
        write.cancel()
        with pytest.raises(asyncio.CancelledError):
            await write
        model.hold = False
        for request in held:
            model.answer(request)

        await disk.settle()
        assert model.data == b"w" * disk.capacity


async def test_an_error_of_a_piece_is_the_error_of_the_whole() -> None:
    """Nothing of the write is on its way any more when the error is raised."""
    model = small_disk(request_max=512)
    model.hold = True
    async with driving(model) as disk:
        write = asyncio.create_task(disk.write(0, bytes(disk.capacity)))
        held = await model.arrived(SLOTS_MAX)
        model.answer(held[3], status=1)
        await settle()
        model.hold = False
        for request in list(model.held):
            assert not write.done()
            model.answer(request)

        with pytest.raises(BlockIOError, match="sector 3"):
            await write
        assert disk.in_flight == 0
        assert len(model.seen) <= SLOTS_MAX + 1


async def test_errors_of_cancelled_writes_trouble_nobody() -> None:
    """A write that nobody waits for any more may fail in silence."""
    model = small_disk()
    model.hold = True
    async with driving(model) as disk:
        write = asyncio.create_task(disk.write(0, bytes(512)))
        (held,) = await model.arrived(1)
        write.cancel()
        with pytest.raises(asyncio.CancelledError):
            await write
        model.answer(held, status=1)

        await disk.settle()

        assert disk.in_flight == 0


async def test_zeroes_and_discards_are_split() -> None:
    """Both respect the largest range that the disk takes."""
    model = small_disk()
    async with driving(model) as disk:
        await disk.write_zeroes(512, 6 * 512, unmap=True)
        await disk.discard(0, 5 * 512)

        assert [(one.type, one.segments) for one in model.seen] == [
            (WRITE_ZEROES, [(1, 4, 1)]),
            (WRITE_ZEROES, [(5, 2, 1)]),
            (DISCARD, [(0, 4, 0)]),
            (DISCARD, [(4, 1, 0)]),
        ]
        assert model.data[512 : 7 * 512] == bytes(6 * 512)


@pytest.mark.parametrize(
    ("offset", "length"), [(0, 32769), (32768, 1), (32769, 0), (1 << 63, 1), (-1, 1), (5, -1)]
)
async def test_ranges_behind_the_end_are_refused(offset: int, length: int) -> None:
    """Nothing is sent to the disk."""
    model = small_disk()
    async with driving(model) as disk:
        with pytest.raises(PastEnd, match="vda ends at byte 32768"):
            await disk.read(offset, length)

        assert model.seen == []


async def test_empty_ranges_do_nothing() -> None:
    """Zero bytes are on every disk, also at its very end and inside a block."""
    model = small_disk()
    async with driving(model) as disk:
        assert bytes(await disk.read(disk.capacity, 0)) == b""
        await disk.write(disk.capacity, b"")
        await disk.write(100, b"")
        await disk.discard(0, 0)

        assert model.seen == []


@pytest.mark.parametrize(("offset", "length"), [(1, 512), (0, 511)])
async def test_ranges_of_parts_of_blocks_are_refused(offset: int, length: int) -> None:
    """Discard and write-zeroes take whole blocks."""
    async with driving(small_disk()) as disk:
        with pytest.raises(Unaligned):
            await disk.discard(offset, length)
        with pytest.raises(Unaligned):
            await disk.write_zeroes(offset, length, unmap=False)


async def test_disks_without_discard_say_so() -> None:
    """The error names what is missing."""
    model = ScriptedDisk(
        features=FEATURES
        & ~int(BlkFeature.VIRTIO_BLK_F_DISCARD | BlkFeature.VIRTIO_BLK_F_WRITE_ZEROES)
    )
    async with driving(model) as disk:
        with pytest.raises(BlockUnsupported, match="no discard"):
            await disk.discard(0, 512)
        with pytest.raises(BlockUnsupported, match="no write-zeroes"):
            await disk.write_zeroes(0, 512, unmap=False)


async def test_read_only_disks_are_not_changed() -> None:
    """Every kind of change is refused, and reading goes on."""
    model = ScriptedDisk(features=FEATURES | BlkFeature.VIRTIO_BLK_F_RO)
    async with driving(model) as disk:
        for change in (
            disk.write(0, b"x"),
            disk.discard(0, 512),
            disk.write_zeroes(0, 512, unmap=False),
        ):
            with pytest.raises(BlockReadOnly):
                await change

        assert len(await disk.read(0, 512)) == 512
        assert issubclass(BlockReadOnly, VirtmeshError)
