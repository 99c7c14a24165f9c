"""DisplayService of a device service: what people see of what a driver draws."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from io import BytesIO
from random import Random
from typing import TYPE_CHECKING, Any

import grpc.aio
import pytest
from PIL import Image

from tests.support.display_viewer import Viewer
from tests.support.gpu_rig import BGRX, MODE, OK, GpuDriver, opaque
from virtmesh.gpu.kind import KIND
from virtmesh.gpu.model import GpuModel, GpuOptions
from virtmesh.virtio.mmio_device import VirtioMmio
from virtmesh_common.api.display.v1 import display_pb2 as pb
from virtmesh_common.api.display.v1.display_pb2_grpc import DisplayServiceStub
from virtmesh_common.errors import LimitReached, ShuttingDown, VirtmeshError, from_rpc_error
from virtmesh_common.gpu import spec
from virtmesh_common.gpu.errors import BadMode, NoPicture, NoSuchScanout
from virtmesh_common.gpu.spec import Command
from virtmesh_common.limits import DEFAULTS

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from tests.contract.conftest import Served

    Serve = Callable[..., AbstractAsyncContextManager[Served]]

WIDTH, HEIGHT = MODE.width, MODE.height
WHOLE = (0, 0, WIDTH, HEIGHT)
BLACK = opaque(bytes(WIDTH * HEIGHT * 4))
FLUSHES = 50


@dataclass
class Display:
    """A GPU service in this process, and the model it serves."""

    served: Served
    model: GpuModel

    @property
    def calls(self) -> Any:
        """A stub of DisplayService."""
        return DisplayServiceStub(self.served.channel)

    @asynccontextmanager
    async def driven(self) -> AsyncIterator[GpuDriver]:
        """Attach a driver that has brought the device up."""
        async with self.served.attached() as script:
            driver = GpuDriver(script)
            await driver.bring_up()
            yield driver

    async def shot(self, **request: Any) -> dict[int, tuple[int, int, bytes]]:
        """Take screenshots: width, height and data of each scanout."""
        found: dict[int, tuple[int, int, bytes]] = {}
        async for one in self.calls.Screenshot(pb.ScreenshotRequest(**request)):
            before = found.get(one.scanout, (0, 0, b""))[2]
            found[one.scanout] = one.width, one.height, before + one.data
        return found

    async def stats(self, scanout: int = 0) -> pb.ScanoutStats:
        """Return the counters of a scanout."""
        found: pb.GetStatsResponse = await self.calls.GetStats(pb.GetStatsRequest())
        return found.scanouts[scanout]


@asynccontextmanager
async def serving(serve: Serve, **options: Any) -> AsyncIterator[Display]:
    """Serve a GPU for a while."""
    model = GpuModel("gpu0", GpuOptions(mode=MODE, **options))
    async with serve(VirtioMmio(model), KIND) as served:
        yield Display(served, model)


@pytest.fixture
async def display(serve: Serve) -> AsyncIterator[Display]:
    """Serve a GPU of two small screens."""
    async with serving(serve, scanouts=2) as display:
        yield display


def pixels(seed: int, count: int = WIDTH * HEIGHT) -> bytes:
    """Return pixels, every one another."""
    return opaque(Random(seed).randbytes(4 * count))  # noqa: S311 - any bytes will do


async def error_of(call: Any) -> VirtmeshError:
    """Return the error that a call ends with."""
    try:
        if hasattr(call, "read"):
            while await call.read() is not grpc.aio.EOF:
                pass
        else:
            await call
    except grpc.aio.AioRpcError as failure:
        return from_rpc_error(failure)
    pytest.fail("the call ended without an error")


async def test_the_screens_are_described(display: Display) -> None:
    """Before a driver shows something, and then with the picture and the cursor."""
    found = await display.calls.Describe(pb.DescribeRequest())
    assert [(one.number, one.enabled) for one in found.scanouts] == [(0, True), (1, True)]
    modes = [(one.mode_width, one.mode_height) for one in found.scanouts]
    assert modes == [(WIDTH, HEIGHT)] * 2
    assert [(one.width, one.height) for one in found.scanouts] == [(0, 0), (0, 0)]
    async with display.driven() as driver:
        await driver.show(1, 20, 10, pixels(1, 200))
        await driver.draw(2, 64, 64, pixels(2, 4096))
        await driver.point(Command.VIRTIO_GPU_CMD_UPDATE_CURSOR, -5, 6, 2)
        one, other = (await display.calls.Describe(pb.DescribeRequest())).scanouts
        assert (one.width, one.height, other.width) == (20, 10, 0)
        cursor = one.cursor
        assert (cursor.visible, cursor.x, cursor.y, cursor.hot_x, cursor.hot_y) == (
            True, -5, 6, 1, 2,
        )  # fmt: skip
        assert cursor.image == b""
        assert not other.cursor.visible


async def test_screenshots(display: Display) -> None:
    """Of one screen or of all that show something, raw and as PNG: the same pixels."""
    first, second = pixels(3), pixels(4)
    async with display.driven() as driver:
        await driver.show(1, WIDTH, HEIGHT, first)
        raw = {"format": pb.IMAGE_FORMAT_RAW}
        assert await display.shot(**raw) == {0: (WIDTH, HEIGHT, first)}
        await driver.draw(2, WIDTH, HEIGHT, second)
        assert await driver.scan_out(2, WHOLE, 1) == OK
        assert await display.shot(**raw) == {
            0: (WIDTH, HEIGHT, first),
            1: (WIDTH, HEIGHT, second),
        }
        assert await display.shot(**raw, scanout=1) == {1: (WIDTH, HEIGHT, second)}
        for encoding in (pb.IMAGE_FORMAT_UNSPECIFIED, pb.IMAGE_FORMAT_PNG):
            ((_, _, file),) = (await display.shot(format=encoding, scanout=1)).values()
            with Image.open(BytesIO(file)) as image:
                assert (image.format, image.size) == ("PNG", (WIDTH, HEIGHT))
                assert opaque(image.convert("RGBA").tobytes("raw", "BGRA")) == second


async def test_a_screenshot_with_the_cursor(display: Display) -> None:
    """It is drawn where the driver put it, only if it is asked for."""
    async with display.driven() as driver:
        await driver.show(1, WIDTH, HEIGHT, BLACK)
        await driver.draw(2, 64, 64, b"\xff" * 4 * 4096)
        await driver.point(Command.VIRTIO_GPU_CMD_UPDATE_CURSOR, WIDTH - 2, HEIGHT - 1, 2)
        raw = {"format": pb.IMAGE_FORMAT_RAW}
        assert (await display.shot(**raw))[0][2] == BLACK
        drawn = (await display.shot(**raw, with_cursor=True))[0][2]
        assert drawn == BLACK[:-8] + b"\xff" * 8


async def test_a_large_screenshot_comes_in_pieces(serve: Serve) -> None:
    """Each fits a message of any client."""
    async with serving(serve) as display, display.driven() as driver:
        place = (0, 0, 1024, 1024)
        assert await driver.create(1, 1024, 1024) == OK
        assert await driver.scan_out(1, place) == OK
        request = pb.ScreenshotRequest(format=pb.IMAGE_FORMAT_RAW)
        pieces = [one async for one in display.calls.Screenshot(request)]
        assert {(one.width, one.height, one.stride) for one in pieces} == {(1024, 1024, 4096)}
        assert max(len(one.data) for one in pieces) == 1 << 20
        assert sum(len(one.data) for one in pieces) == 4 << 20


async def test_nothing_is_shown(display: Display) -> None:
    """Before the driver shows something, and after it reset the device."""
    request = pb.ScreenshotRequest()
    assert isinstance(await error_of(display.calls.Screenshot(request)), NoPicture)
    async with display.driven() as driver:
        await driver.show(1, WIDTH, HEIGHT, pixels(5))
        other = pb.ScreenshotRequest(scanout=1)
        assert isinstance(await error_of(display.calls.Screenshot(other)), NoPicture)
        await driver.script.reset()
        assert isinstance(await error_of(display.calls.Screenshot(request)), NoPicture)


async def test_a_disconnected_screen_shows_nothing(display: Display) -> None:
    """The error says so, and how it is connected; that of a connected one is another."""
    for number, words in ((0, "gpu0 WIDTHxHEIGHT`"), (1, "gpu0 WIDTHxHEIGHT --scanout 1`")):
        request = pb.ScreenshotRequest(scanout=number)
        error = await error_of(display.calls.Screenshot(request))
        assert "its driver has set no scanout yet" in str(error)
        await display.calls.SetMode(pb.SetModeRequest(scanout=number))
        error = await error_of(display.calls.Screenshot(request))
        assert f"its screen {number} is disconnected, and `virtmesh screen mode" in str(error)
        assert words in str(error)


async def test_scanouts_that_are_not_there(display: Display) -> None:
    """The error says how many there are."""
    for call in (
        display.calls.Screenshot(pb.ScreenshotRequest(scanout=2)),
        display.calls.Watch(pb.WatchRequest(scanout=2)),
        display.calls.SetMode(pb.SetModeRequest(scanout=0xFFFF_FFFF, width=64, height=64)),
    ):
        error = await error_of(call)
        assert isinstance(error, NoSuchScanout)
        assert error.metadata["scanouts"] == "2"


async def test_watching(display: Display) -> None:
    """First the whole picture, then what has changed; another size makes another picture."""
    first, second = pixels(6), pixels(7)
    viewer = Viewer(display.calls.Watch(pb.WatchRequest()))
    ((nothing),) = await viewer.update()
    assert (nothing.is_new, nothing.width, len(nothing.changes)) == (True, 0, 0)
    async with display.driven() as driver:
        address = await driver.show(1, WIDTH, HEIGHT, first)
        while not viewer.width:  # The reset of the driver may have brought an update of nothing.
            await viewer.update()
        assert viewer.pixels == first
        driver.memory.write(address, second)
        part = (3, 4, 5, 6)
        assert await driver.transfer(1, part, (4 * WIDTH + 3) * 4) == OK
        assert await driver.flush(1, part) == OK
        (piece,) = await viewer.update()
        assert [(one.x, one.y, one.width, one.height) for one in piece.changes] == [part]
        assert (piece.is_new, piece.flushes) == (False, 1)
        assert bytes(viewer.pixels) == (await display.shot(format=pb.IMAGE_FORMAT_RAW))[0][2]
        await driver.show(2, 16, 16, pixels(8, 256))
        (piece,) = await viewer.update()
        assert (piece.is_new, bytes(viewer.pixels)) == (True, pixels(8, 256))
        assert await driver.scan_out(0, (0, 0, 0, 0)) == OK
        (piece,) = await viewer.update()
        assert (piece.is_new, piece.width, len(piece.changes)) == (True, 0, 0)
        assert (await display.stats()).watchers == 1
        viewer.call.cancel()


async def test_a_cursor_is_watched(display: Display) -> None:
    """Its image comes when it has changed, its place whenever it moves."""
    image = pixels(9, 4096)
    async with display.driven() as driver:
        await driver.show(1, WIDTH, HEIGHT, BLACK)
        await driver.draw(2, 64, 64, image)
        viewer = Viewer(display.calls.Watch(pb.WatchRequest()))
        await viewer.update()
        update, move = Command.VIRTIO_GPU_CMD_UPDATE_CURSOR, Command.VIRTIO_GPU_CMD_MOVE_CURSOR
        for command, x, number, visible, shape in (
            (update, 7, 2, True, image),
            (move, -8, 0, True, b""),
            (update, 9, 0, False, b""),
        ):
            await driver.point(command, x, 5, number)
            (piece,) = await viewer.update()
            cursor = piece.cursor
            assert (cursor.visible, cursor.x, cursor.image) == (visible, x, shape)
            assert not piece.changes
        viewer.call.cancel()


async def test_a_slow_watcher_gets_the_newest_pixels(display: Display) -> None:
    """And no backlog: what it was too slow for is merged, and counted."""
    async with display.driven() as driver:
        address = await driver.show(1, WIDTH, HEIGHT, BLACK)
        viewer = Viewer(display.calls.Watch(pb.WatchRequest(updates_per_second=1)))
        await viewer.update()
        newest = b""
        for seed in range(FLUSHES):
            newest = pixels(seed)
            driver.memory.write(address, newest)
            await driver.transfer(1, WHOLE)
            await driver.flush(1, WHOLE)
        while viewer.flushes < FLUSHES:
            await viewer.update()
        assert bytes(viewer.pixels) == newest
        stats = await display.stats()
        assert viewer.updates - 1 < FLUSHES
        assert stats.flushes_merged == FLUSHES - (viewer.updates - 1)
        (watching,) = stats.watching
        assert (watching.updates, watching.flushes) == (viewer.updates, FLUSHES)
        assert watching.flushes_merged == stats.flushes_merged
        assert (stats.flushes, stats.damage_bytes) == (FLUSHES, FLUSHES * len(newest))
        viewer.call.cancel()


async def test_a_watcher_that_never_reads(serve: Serve) -> None:
    """The driver is not held up, and the service keeps rectangles alone for it."""
    place = (0, 0, 512, 512)
    async with serving(serve) as display, display.driven() as driver:
        assert await driver.create(1, 512, 512) == OK
        assert await driver.scan_out(1, place) == OK
        stuck = display.calls.Watch(pb.WatchRequest())
        viewer = Viewer(display.calls.Watch(pb.WatchRequest()))
        await viewer.update()
        for column in range(0, 512, 2):
            assert await driver.flush(1, (column, column, 1, 1)) == OK
        while viewer.flushes < 256:
            await viewer.update()
        (scanout,) = display.model.scanouts
        assert len(scanout.watchers) == 2
        never_reads, reads = (await display.stats()).watching
        assert (reads.updates, reads.flushes) == (viewer.updates, 256)
        assert reads.flushes_merged == 256 - (viewer.updates - 1)
        assert never_reads.flushes <= 256
        assert all(len(one.damage.take()) <= 16 for one in scanout.watchers)
        stuck.cancel()
        viewer.call.cancel()


async def test_so_many_watch_at_a_time(serve: Serve) -> None:
    """One more is told so; when one has left, another may watch."""
    async with serving(serve) as display:
        viewers = [
            Viewer(display.calls.Watch(pb.WatchRequest())) for _ in range(DEFAULTS.screen_watchers)
        ]
        for viewer in viewers:
            await viewer.update()
        with pytest.raises(grpc.aio.AioRpcError, match="screen-watchers") as refused:
            await Viewer(display.calls.Watch(pb.WatchRequest())).update()
        assert isinstance(from_rpc_error(refused.value), LimitReached)
        viewers.pop().call.cancel()
        while (await display.stats()).watchers == DEFAULTS.screen_watchers:
            pass  # Each look is a call.
        viewers.append(Viewer(display.calls.Watch(pb.WatchRequest())))
        await viewers[-1].update()
        for viewer in viewers:
            viewer.call.cancel()


async def test_a_mode_is_set(display: Display) -> None:
    """The driver hears of it by an interrupt, reads and clears the event, and the new modes."""
    async with display.driven() as driver:
        get, put = driver.script.get, driver.script.put
        generation = display.model.config_generation
        sequence = display.model.interrupt.sequence
        await display.calls.SetMode(pb.SetModeRequest(scanout=1, width=800, height=600))
        assert display.model.interrupt.sequence == sequence + 1
        assert display.model.config_generation != generation
        assert await get(spec.EVENTS_READ) == 1
        await put(spec.EVENTS_CLEAR, 1)
        assert await get(spec.EVENTS_READ) == 0
        assert await get(spec.NUM_SCANOUTS) == 2
        await display.calls.SetMode(pb.SetModeRequest(scanout=0))
        got = await driver.send(Command.VIRTIO_GPU_CMD_GET_DISPLAY_INFO)
        rows = list(spec.DISPLAY_ONE.iter_unpack(got.payload))
        assert rows[:2] == [(0, 0, 0, 0, 0, 0), (0, 0, 800, 600, 1, 0)]
        one, other = (await display.calls.Describe(pb.DescribeRequest())).scanouts
        assert (one.enabled, other.mode_width, other.mode_height) == (False, 800, 600)
        await display.calls.SetMode(pb.SetModeRequest(width=64, height=48))
        assert (await display.calls.Describe(pb.DescribeRequest())).scanouts[0].enabled


@pytest.mark.parametrize(
    ("width", "height"), [(15, 600), (800, 0), (0, 600), (4096, 600), (0xFFFF_FFFF, 0xFFFF_FFFF)]
)
async def test_modes_that_no_screen_has(display: Display, width: int, height: int) -> None:
    """They are refused, and nothing changes."""
    call = display.calls.SetMode(pb.SetModeRequest(width=width, height=height))
    assert isinstance(await error_of(call), BadMode)
    (one, _) = (await display.calls.Describe(pb.DescribeRequest())).scanouts
    assert (one.enabled, one.mode_width, one.mode_height) == (True, WIDTH, HEIGHT)


async def test_counters_and_metrics_agree(display: Display) -> None:
    """GetStats has a part of what the metrics have."""
    async with display.driven() as driver:
        await driver.show(1, WIDTH, HEIGHT, pixels(10))
        for _ in range(3):
            assert await driver.flush(1, (0, 0, 2, 2)) == OK
        await driver.create(2, 0, 0, BGRX)
        found = await display.calls.GetStats(pb.GetStatsRequest())
        samples = {
            (sample.name.removeprefix("virtmesh_gpu_"), *sample.labels.values()): sample.value
            for metric in KIND.collect(display.model)
            for sample in metric.samples
        }
    assert (found.resources, found.resource_bytes) == (1, WIDTH * HEIGHT * 4)
    assert [one.flushes for one in found.scanouts] == [3, 0]
    assert samples["flushes_total", "0"] == 3
    assert samples["damage_bytes_total", "0"] == found.scanouts[0].damage_bytes == 3 * 16
    assert samples["resources",] == 1
    assert samples["resource_bytes",] == found.resource_bytes
    assert samples["picture_width", "0"] == WIDTH
    assert samples["commands_total", "RESOURCE_FLUSH", "OK_NODATA"] == 3
    assert samples["commands_total", "RESOURCE_CREATE_2D", "ERR_INVALID_PARAMETER"] == 1


async def test_a_watch_ends_when_the_service_stops(display: Display) -> None:
    """With a reason."""
    watch = display.calls.Watch(pb.WatchRequest())
    await watch.read()
    await display.served.host.stop()
    assert isinstance(await error_of(watch), ShuttingDown)
