"""VirtIOBlk on the real disk: in this process and through its service, whatever the doorbell."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.driving import REACHES, driving
from virtmesh.blk.driver import VirtIOBlk
from virtmesh.blk.model import BlkModel, BlkOptions
from virtmesh.machine import DoorbellKind, InterruptMode
from virtmesh.virtio.mmio_device import VirtioMmio
from virtmesh_common.blk.errors import BlockIOError, BlockReadOnly, PastEnd
from virtmesh_common.errors import DeviceLost
from virtmesh_common.virtio.features import Feature

SIZE = 8 << 20
WAYS = [
    pytest.param(
        (reach, doorbell, mode, refused), id=f"{reach}-{doorbell.value}-{mode.value}-{ring}"
    )
    for reach in REACHES
    for doorbell in DoorbellKind
    for mode in InterruptMode
    for ring, refused in (("packed", 0), ("split", Feature.VIRTIO_F_RING_PACKED))
]

Drive = Callable[..., AbstractAsyncContextManager[tuple[VirtIOBlk, BlkModel]]]


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Make a sparse image."""
    path = tmp_path / "disk.img"
    path.touch()
    os.truncate(path, SIZE)
    return path


def content(image: Path) -> bytes:
    """Read an image."""
    return image.read_bytes()


def fill(image: Path, byte: bytes) -> None:
    """Fill an image."""
    image.write_bytes(byte * SIZE)


@pytest.fixture(params=WAYS)
def drive(request: pytest.FixtureRequest, image: Path, tmp_path: Path) -> Drive:
    """Return what starts a driver on a disk made of the given options."""
    reach, doorbell, mode, refused = request.param

    @asynccontextmanager
    async def start(**options: Any) -> AsyncIterator[tuple[VirtIOBlk, BlkModel]]:
        model = BlkModel("vda", BlkOptions(image, **options))
        device = VirtioMmio(model)
        options = {"doorbell": doorbell, "interrupts": mode, "refused": refused}
        async with driving(reach, device, tmp_path, **options) as driver:
            assert isinstance(driver, VirtIOBlk)
            yield driver, model

    return start


async def test_many_tasks_at_odd_ranges_agree_with_memory(drive: Drive, image: Path) -> None:
    """A hundred tasks, each in a range of its own: what they wrote is read, and on the image."""
    chance = random.Random(3)  # noqa: S311 - a test's chance is to be the same each time
    model = bytearray(SIZE)
    share = SIZE // 100

    async with drive(queues=2, queue_size=16, seg_max=14) as (driver, _):

        async def work(number: int) -> None:
            for _ in range(4):
                offset = number * share + chance.randrange(share // 2)
                data = chance.randbytes(chance.choice((1, 511, 512, 513, 4096, share // 2)))
                await driver.write(offset, data)
                model[offset : offset + len(data)] = data
                assert bytes(await driver.read(offset, len(data))) == data

        await asyncio.gather(*(work(number) for number in range(100)))
        assert bytes(await driver.read(0, SIZE)) == model
        await driver.flush()

    assert content(image) == model


async def test_small_limits_are_respected(drive: Drive, image: Path) -> None:
    """A ring smaller than the load, and the smallest segments there can be."""
    data = bytes(range(256)) * 1024

    async with drive(queue_size=4, seg_max=2, size_max=512) as (driver, _):
        await asyncio.gather(
            *(
                driver.write(start, data[start : start + 8192])
                for start in range(0, len(data), 8192)
            )
        )
        assert bytes(await driver.read(0, len(data))) == data

    assert content(image)[: len(data)] == data


async def test_large_blocks_are_rewritten_whole(drive: Drive) -> None:
    """With blocks of 4 KiB, neighbours inside a block do not undo each other."""
    async with drive(block_size=4096) as (driver, _):
        await asyncio.gather(
            *(driver.write(number * 100, bytes([number]) * 100) for number in range(200))
        )
        expected = b"".join(bytes([number]) * 100 for number in range(200))
        assert bytes(await driver.read(0, len(expected))) == expected


async def test_discard_and_zeroes_reach_the_image(drive: Drive, image: Path) -> None:
    """What is zeroed reads as zeroes; what is unmapped is a hole."""
    fill(image, b"x")

    async with drive() as (driver, model):
        before = model.disk.allocated
        await driver.write_zeroes(0, 1 << 20, unmap=True)
        await driver.discard(1 << 20, 1 << 20)
        await driver.write_zeroes(4 << 20, 512, unmap=False)

        assert bytes(await driver.read(0, 2 << 20)) == bytes(2 << 20)
        assert bytes(await driver.read(4 << 20, 1024)) == bytes(512) + b"x" * 512
        assert model.disk.allocated <= before - (2 << 20)


async def test_a_resize_is_seen_by_the_driver(drive: Drive) -> None:
    """The configuration interrupt brings the new capacity; the end of the disk has moved."""
    async with drive() as (driver, model):
        with pytest.raises(PastEnd):
            await driver.read(SIZE, 512)
        reread = asyncio.Event()
        read_config = driver.config_changed

        async def config_changed() -> None:
            await read_config()
            reread.set()

        driver.config_changed = config_changed  # type: ignore[method-assign]
        await asyncio.to_thread(model.resize, 2 * SIZE, allow_shrink=False)
        model.announce_change()
        await reread.wait()

        assert driver.capacity == 2 * SIZE
        assert bytes(await driver.read(SIZE, 512)) == bytes(512)


async def test_a_read_only_disk_is_read(drive: Drive, image: Path) -> None:
    """Writes are refused by the driver; the identification is there."""
    fill(image, b"r")

    async with drive(read_only=True, serial="SERIAL-1") as (driver, _):
        assert (driver.read_only, driver.serial) == (True, "SERIAL-1")
        assert bytes(await driver.read(1, 3)) == b"rrr"
        with pytest.raises(BlockReadOnly):
            await driver.write(0, b"x")


async def test_an_image_cut_off_in_use_is_an_error(drive: Drive, image: Path) -> None:
    """Reads behind the new end of the file fail; the disk stays in use."""
    async with drive() as (driver, _):
        os.truncate(image, SIZE // 2)

        with pytest.raises(BlockIOError):
            await driver.read(SIZE - 4096, 4096)
        with pytest.raises(BlockIOError):
            await driver.write(SIZE - 4096, bytes(4096))

        assert len(await driver.read(0, 4096)) == 4096
    assert len(content(image)) == SIZE // 2


async def test_cancelled_callers_leave_the_disk_usable(drive: Drive) -> None:
    """Callers that give up at any moment cost no slot, and no write is torn."""
    async with drive(queue_size=8, seg_max=6) as (driver, _):
        for turn in range(30):
            tasks = [
                asyncio.create_task(driver.write(number * 4096, bytes([turn]) * 4096))
                for number in range(16)
            ]
            for _ in range(turn % 7):
                await asyncio.sleep(0)
            for task in tasks[turn % 3 :: 3]:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await driver.settle()

        for number in range(16):
            block = bytes(await driver.read(number * 4096, 4096))
            assert block == block[:1] * 4096
        assert driver.in_flight == 0


async def test_closing_ends_what_waits(drive: Drive) -> None:
    """Nobody is left waiting when the driver is closed."""
    async with drive() as (driver, _):
        reads = [asyncio.create_task(driver.read(0, 1 << 20)) for _ in range(50)]
        await asyncio.sleep(0)
        await driver.close()

        outcomes = await asyncio.gather(*reads, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} <= {DeviceLost, memoryview}
        with pytest.raises(DeviceLost):
            await driver.read(0, 512)
