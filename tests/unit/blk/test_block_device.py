"""BlockDevice: ranges on top of whole blocks, for any driver."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtmesh.blk.block_device import WINDOW
from virtmesh.testing.memory_disk import MemoryDisk
from virtmesh_common.blk.errors import (
    BlockIOError,
    BlockReadOnly,
    BlockUnsupported,
    PastEnd,
    Unaligned,
)
from virtmesh_common.errors import VirtmeshError

BLOCKS = 64


ranges = st.tuples(st.integers(0, BLOCKS * 512), st.integers(0, 9000)).map(
    lambda pair: (pair[0], min(pair[1], BLOCKS * 512 - pair[0]))
)


@given(st.lists(st.tuples(st.booleans(), ranges), max_size=12))
def test_any_ranges_behave_like_a_bytearray(steps: list[tuple[bool, tuple[int, int]]]) -> None:
    """Reads and writes at odd offsets and lengths do what they do to plain memory."""

    async def play() -> None:
        disk = MemoryDisk()
        model = bytearray(disk.data)
        for number, (is_write, (offset, length)) in enumerate(steps):
            if is_write:
                data = random.Random(number).randbytes(length)  # noqa: S311 - a pattern
                await disk.write(offset, data)
                model[offset : offset + length] = data
            assert bytes(await disk.read(offset, length)) == model[offset : offset + length]
        assert disk.data == model

    asyncio.run(play())


async def test_requests_are_split_and_run_side_by_side() -> None:
    """No request is larger than the disk takes, and several are in flight."""
    disk = MemoryDisk(request_size_max=1024)

    await disk.read(0, disk.capacity)

    assert {length for _, _, length in disk.log} == {2}
    assert disk.peak == WINDOW


async def test_whole_blocks_are_not_read_before_they_are_written() -> None:
    """Only the partial blocks at the ends are read and rewritten."""
    disk = MemoryDisk()

    await disk.write(100, bytes(1500))

    assert sorted(disk.log) == [
        *[("read", 0, 1), ("read", 3, 1), ("write", 0, 1), ("write", 1, 2), ("write", 3, 1)]
    ]


async def test_neighbours_in_one_block_never_undo_each_other() -> None:
    """A hundred tasks write parts of the same blocks at once; every byte arrives."""
    disk = MemoryDisk(block_size=4096, request_size_max=8192)
    size = 777

    await asyncio.gather(
        *(disk.write(number * size, bytes([number]) * size) for number in range(100))
    )

    expected = b"".join(bytes([number]) * size for number in range(100))
    assert disk.data[: len(expected)] == expected


async def test_a_whole_block_write_is_not_undone_by_a_partial_one() -> None:
    """A full write that comes while a block is being rewritten waits for it."""
    disk = MemoryDisk()
    disk.gate = asyncio.Event()
    partial = asyncio.create_task(disk.write(10, b"partial"))
    whole = asyncio.create_task(disk.write(0, b"W" * 512))
    await asyncio.sleep(0)

    disk.gate.set()
    await asyncio.gather(partial, whole)

    assert disk.data[:512] == b"W" * 512


async def test_a_cancelled_write_keeps_its_blocks_until_it_is_done() -> None:
    """The next writer of the range can't be overtaken by what is still on its way."""
    disk = MemoryDisk()
    disk.gate = asyncio.Event()
    first = asyncio.create_task(disk.write(0, b"1" * 512))
    await disk.begun.wait()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    second = asyncio.create_task(disk.write(0, b"2" * 512))
    await asyncio.sleep(0)

    assert disk.running == 1
    disk.gate.set()
    await second

    assert disk.log == [("write", 0, 1), ("write", 0, 1)]
    assert disk.data[:512] == b"2" * 512


async def test_an_error_of_a_piece_is_the_error_of_the_whole() -> None:
    """Nothing of the write is on its way any more when the error is raised."""
    disk = MemoryDisk(request_size_max=512)
    disk.bad_blocks = {3}

    with pytest.raises(BlockIOError):
        await disk.write(0, bytes(disk.capacity))

    assert disk.running == 0
    assert len(disk.log) <= WINDOW + 3


async def test_errors_of_cancelled_writes_trouble_nobody() -> None:
    """A write that nobody waits for any more may fail in silence."""
    disk = MemoryDisk()
    disk.bad_blocks = {0}
    disk.gate = asyncio.Event()
    write = asyncio.create_task(disk.write(0, bytes(512)))
    await disk.begun.wait()
    write.cancel()
    disk.gate.set()

    await disk.settle()

    assert disk.running == 0


async def test_zeroes_and_discards_are_split() -> None:
    """Both respect the largest range that the disk takes."""
    disk = MemoryDisk()

    await disk.write_zeroes(512, 6 * 512, unmap=True)
    await disk.discard(0, 5 * 512)

    assert sorted(disk.log) == [
        *[("discard", 0, 4), ("discard", 4, 1), ("unmap", 1, 4), ("unmap", 5, 2)]
    ]
    assert disk.data[512 : 7 * 512] == bytes(6 * 512)


@pytest.mark.parametrize(
    ("offset", "length"), [(0, 32769), (32768, 1), (32769, 0), (1 << 63, 1), (-1, 1), (5, -1)]
)
async def test_ranges_behind_the_end_are_refused(offset: int, length: int) -> None:
    """Nothing is sent to the disk."""
    disk = MemoryDisk()

    with pytest.raises(PastEnd, match="mem ends at byte 32768"):
        await disk.read(offset, length)

    assert disk.log == []


async def test_empty_ranges_do_nothing() -> None:
    """Zero bytes are on every disk, also at its very end."""
    disk = MemoryDisk()

    assert bytes(await disk.read(disk.capacity, 0)) == b""
    await disk.write(disk.capacity, b"")
    await disk.discard(0, 0)

    assert disk.log == []


@pytest.mark.parametrize(("offset", "length"), [(1, 512), (0, 511)])
async def test_ranges_of_parts_of_blocks_are_refused(offset: int, length: int) -> None:
    """Discard and write-zeroes take whole blocks."""
    disk = MemoryDisk()

    with pytest.raises(Unaligned):
        await disk.discard(offset, length)
    with pytest.raises(Unaligned):
        await disk.write_zeroes(offset, length, unmap=False)


async def test_disks_without_discard_say_so() -> None:
    """The error names what is missing."""
    disk = MemoryDisk()
    disk.discard_size_max = disk.write_zeroes_size_max = 0

    with pytest.raises(BlockUnsupported, match="no discard"):
        await disk.discard(0, 512)
    with pytest.raises(BlockUnsupported, match="no write-zeroes"):
        await disk.write_zeroes(0, 512, unmap=False)


async def test_read_only_disks_are_not_changed() -> None:
    """Every kind of change is refused, and reading goes on."""
    disk = MemoryDisk()
    disk.read_only = True

    for change in (
        disk.write(0, b"x"),
        disk.discard(0, 512),
        disk.write_zeroes(0, 512, unmap=False),
    ):
        with pytest.raises(BlockReadOnly):
            await change

    assert len(await disk.read(0, 512)) == 512
    assert issubclass(BlockReadOnly, VirtmeshError)
