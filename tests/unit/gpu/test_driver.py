"""The driver of GPUs, with a real model: its framebuffer, its cursor, and modes that it follows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.support.gpu_rig import opaque
from virtmesh.attach.guest_ram import Ram
from virtmesh.drivers.interrupt_mode import InterruptMode
from virtmesh.gpu.driver import VirtIOGpu
from virtmesh.gpu.model import GpuModel, GpuOptions
from virtmesh.gpu.settings import Mode
from virtmesh.testing.local_bus import LocalBus
from virtmesh.virtio.mmio_device import VirtioMmio
from virtmesh_common.errors import DriverError
from virtmesh_common.gpu.errors import BadRectangle, CommandFailed
from virtmesh_common.gpu.spec import Command, GpuFeature
from virtmesh_common.virtio.features import Feature

MODE = Mode(64, 48)


@asynccontextmanager
async def driving(  # noqa: PLR0913 - what a driver is tried with
    model: GpuModel,
    *,
    refused: int = 0,
    interrupts: InterruptMode = InterruptMode.INTERRUPT,
    ram: int = 1 << 20,
    kept: object = None,
    driver: type[VirtIOGpu] = VirtIOGpu,
) -> AsyncIterator[VirtIOGpu]:
    """Start a driver of a model."""
    device = VirtioMmio(model)
    with Ram(ram) as memory:
        bus = LocalBus(device, memory)
        started = driver(bus, interrupts, refused=refused)
        bus.on_interrupt(started.handle_irq)
        started.take_over(kept)
        await started.start()
        yield started
        await started.close()
        await bus.close()
    device.close()


def gpu(**options: int) -> GpuModel:
    """Make a GPU."""
    return GpuModel("gpu0", GpuOptions(mode=MODE, **options))


def shown(model: GpuModel) -> tuple[int, int, bytes]:
    """Return width, height and pixels of what the first screen shows."""
    picture = model.scanouts[0].picture
    assert picture is not None
    width, height = picture.width, picture.height
    return width, height, picture.read((0, 0, width, height))


@pytest.mark.parametrize("interrupts", list(InterruptMode))
@pytest.mark.parametrize("refused", [0, int(Feature.VIRTIO_F_RING_PACKED)])
async def test_what_is_drawn_is_seen_when_it_is_flushed(
    refused: int, interrupts: InterruptMode
) -> None:
    """All of it, or a rectangle."""
    model = gpu()
    async with driving(model, refused=refused, interrupts=interrupts) as driver:
        assert driver.resolution == (64, 48)
        assert shown(model) == (64, 48, opaque(bytes(64 * 48 * 4)))
        view = driver.get_framebuffer()
        view[:] = b"\x01\x02\x03\x00" * (64 * 48)
        await driver.flush(1, 1, 2, 1)
        pixels = shown(model)[2]
        assert pixels.count(b"\x01\x02\x03\xff") == 2
        assert pixels[(64 + 1) * 4 :][:8] == b"\x01\x02\x03\xff" * 2
        await driver.flush()
        assert shown(model)[2] == b"\x01\x02\x03\xff" * (64 * 48)


@pytest.mark.parametrize(
    "rect",
    [(0, 0, 65, 1), (0, 0, 1, 49), (64, 0, 1, 1), (-1, 0, 2, 2), (0, 0, 0, 1), (0, 0, 1, -1)],
)
async def test_rectangles_that_are_outside(rect: tuple[int, int, int, int]) -> None:
    """They are refused before the device sees them."""
    model = gpu()
    async with driving(model) as driver:
        flushes = model.scanouts[0].flushes
        with pytest.raises(BadRectangle, match="not inside of the framebuffer, 64x48"):
            await driver.flush(*rect)
        assert model.scanouts[0].flushes == flushes


async def test_a_cursor_is_shown_moved_and_hidden() -> None:
    """Its image has 64 times 64 pixels."""
    model, image = gpu(), bytes(range(256)) * 64
    async with driving(model) as driver:
        await driver.update_cursor(image, 5, 6, 7, 8)
        cursor = model.scanouts[0].cursor
        assert (cursor.x, cursor.y, cursor.hot_x, cursor.hot_y) == (5, 6, 7, 8)
        assert cursor.image == image
        await driver.move_cursor(-9, 10)
        cursor = model.scanouts[0].cursor
        assert (cursor.x, cursor.y, cursor.image) == (-9, 10, image)
        await driver.update_cursor(bytes(64 * 64 * 4), 0, 0)
        assert model.scanouts[0].cursor.image == bytes(64 * 64 * 4)
        await driver.update_cursor(None, 0, 0)
        assert model.scanouts[0].cursor.image == b""
        with pytest.raises(BadRectangle):
            await driver.update_cursor(image[:-1], 0, 0)


async def test_a_command_that_is_refused_says_so() -> None:
    """The driver goes on."""
    async with driving(gpu()) as driver:
        with pytest.raises(CommandFailed, match="GET_EDID: ERR_INVALID_SCANOUT_ID"):
            await driver.edid(1)
        assert len(await driver.edid()) == 128
        with pytest.raises(CommandFailed, match="0x0bad: ERR_UNSPEC"):
            await driver.command(0x0BAD)
        await driver.flush()


class Grudging(VirtIOGpu):
    """A driver whose device refuses backings at first."""

    refusals = 0

    async def command(self, command: int, body: bytes = b"", *, queue: int = 0) -> bytes:
        """Execute a command, unless it is refused."""
        attach = Command.VIRTIO_GPU_CMD_RESOURCE_ATTACH_BACKING
        if command == attach and self.refusals:
            self.refusals -= 1
            raise CommandFailed("RESOURCE_ATTACH_BACKING: ERR_OUT_OF_MEMORY")
        return await super().command(command, body, queue=queue)


async def test_what_was_made_before_a_refusal_is_given_back() -> None:
    """Memory and number of a cursor whose backing was refused 200 times are free for the next."""
    image = bytes(64 * 64 * 4)
    async with driving(gpu(), driver=Grudging) as driver:
        assert isinstance(driver, Grudging)
        driver.refusals = 200
        for _ in range(200):
            with pytest.raises(CommandFailed, match="ATTACH_BACKING"):
                await driver.update_cursor(image, 0, 0)
        await driver.update_cursor(image, 0, 0)


async def test_a_device_without_edid() -> None:
    """The driver does without."""
    model = gpu(without=int(GpuFeature.VIRTIO_GPU_F_EDID))
    async with driving(model) as driver:
        assert driver.resolution == (64, 48)
        with pytest.raises(CommandFailed, match="GET_EDID"):
            await driver.edid()


async def until_shown(model: GpuModel, size: tuple[int, int], driver: VirtIOGpu) -> None:
    """Wait until the driver shows a framebuffer of a size."""
    with model.scanouts[0].watching() as watcher:
        while shown_size(model) != size or driver.resolution != size:
            assert not driver.failed.done()
            await watcher.news.wait()
            watcher.news.clear()


def shown_size(model: GpuModel) -> tuple[int, int] | None:
    """Return the size of what is shown."""
    picture = model.scanouts[0].picture
    return (picture.width, picture.height) if picture is not None else None


async def test_the_driver_follows_the_mode() -> None:
    """With a new framebuffer; memory of the old ones is used again, and no event stays."""
    model = gpu()
    async with driving(model) as driver:
        for width in (100, 200, 64, 333, 100) * 4:
            model.set_mode(0, Mode(width, 200))
            await until_shown(model, (width, 200), driver)
        assert len(driver.get_framebuffer()) == 100 * 200 * 4
        await driver.flush()
        assert len(model.resources) == 1


async def test_a_large_framebuffer_is_made_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others have their turn between them, and it is black."""
    bands = 500
    monkeypatch.setattr("virtmesh.gpu.gpu_device.BAND_BYTES", 200 * 200 * 4 // bands)
    model, turns = gpu(), 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with driving(model) as driver:
        view = driver.get_framebuffer()
        view[:] = b"\xff" * len(view)
        others = asyncio.create_task(take_turns())
        model.set_mode(0, Mode(200, 200))
        await until_shown(model, (200, 200), driver)
        others.cancel()
        assert turns >= bands
        assert not any(driver.get_framebuffer())


async def test_a_mode_that_does_not_fit() -> None:
    """Neither into guest memory, nor into that of the device: the driver stays at what it shows."""
    for model, ram in ((gpu(), 1 << 20), (gpu(memory_max=2 * 64 * 48 * 4), 64 << 20)):
        async with driving(model, ram=ram) as driver:
            for _ in range(3):
                model.set_mode(0, Mode(2000, 2000))
                await refused_once(model, driver)
                assert driver.resolution == (64, 48)
            model.set_mode(0, Mode(32, 32))
            await until_shown(model, (32, 32), driver)
            await driver.flush()


async def refused_once(model: GpuModel, driver: VirtIOGpu) -> None:
    """Wait until the driver has shown its framebuffer again."""
    before = model.scanouts[0].picture
    with model.scanouts[0].watching() as watcher:
        while model.scanouts[0].picture in {before, None} or driver.resolution != (64, 48):
            assert not driver.failed.done()
            await watcher.news.wait()
            watcher.news.clear()


async def test_no_screen_is_connected() -> None:
    """The driver has a framebuffer all the same (5.7.5)."""
    model = gpu()
    model.set_mode(0, None)
    async with driving(model, ram=8 << 20) as driver:
        assert driver.resolution == (1024, 768)


async def test_a_guest_without_room_for_the_framebuffer() -> None:
    """The error says what is missing."""
    model = GpuModel("gpu0", GpuOptions())
    with pytest.raises(DriverError, match="bytes"):
        async with driving(model, ram=1 << 20):
            pass


async def test_commands_are_counted() -> None:
    """By name and by name of the response."""
    model = gpu()
    async with driving(model) as driver:
        await driver.command(Command.VIRTIO_GPU_CMD_GET_DISPLAY_INFO)
    assert model.command_counts["GET_DISPLAY_INFO", "OK_DISPLAY_INFO"] == 2
