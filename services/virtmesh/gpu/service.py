"""DisplayService: what people see of a GPU (virtmesh.display.v1)."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from virtmesh.gpu.damage import Rect
from virtmesh.gpu.screenshot import draw_cursor, encode_png
from virtmesh.gpu.settings import Mode
from virtmesh.rpc.budgets import account
from virtmesh_common.api.display.v1 import display_pb2 as pb
from virtmesh_common.api.display.v1 import display_pb2_grpc
from virtmesh_common.errors import ShuttingDown
from virtmesh_common.gpu.errors import NoPicture, NoSuchScanout, ScreenBusy
from virtmesh_common.gpu.spec import PIXEL
from virtmesh_common.time_limit import time_limit

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import grpc.aio
    from virtmesh_native import Picture

    from virtmesh.gpu.model import GpuModel
    from virtmesh.gpu.scanout import Cursor, Scanout, Watcher

Made = TypeVar("Made")
SERVICE = "virtmesh.display.v1.DisplayService"
PIECE_BYTES = 1 << 20
"""Most bytes of pixels in one message."""
SCREENSHOT_SECONDS = 60.0
"""How long a client may take for its screenshots."""
UPDATES_MAX = 1000
"""Most updates a second that a watcher can ask for by number."""


class DisplayService(display_pb2_grpc.DisplayServiceServicer):
    """The service of one GPU. Pixels are read and encoded by threads of its own."""

    name = SERVICE

    def __init__(self, model: GpuModel) -> None:
        self._model = model
        self._closing = False
        self._readers = ThreadPoolExecutor(2, "display")
        self._encoders = ThreadPoolExecutor(1, "screenshot")
        """Apart from the readers: a screenshot takes long, and holds up no watcher."""

    def add_to(self, server: grpc.aio.Server) -> None:
        """Add the service to a server."""
        display_pb2_grpc.add_DisplayServiceServicer_to_server(self, server)

    def end_streams(self) -> None:
        """End every stream: the device service is stopping."""
        self._closing = True
        for scanout in self._model.scanouts:
            scanout.wake_watchers()

    async def Describe(
        self, request: pb.DescribeRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.DescribeResponse:
        """Describe the screens."""
        return pb.DescribeResponse(
            scanouts=[
                pb.Scanout(
                    number=scanout.number,
                    enabled=scanout.enabled,
                    mode_width=scanout.mode.width,
                    mode_height=scanout.mode.height,
                    width=scanout.picture.width if scanout.picture else 0,
                    height=scanout.picture.height if scanout.picture else 0,
                    cursor=to_message(scanout.cursor),
                )
                for scanout in self._model.scanouts
            ]
        )

    async def Screenshot(  # type: ignore[override]  # the stubs know generators only
        self, request: pb.ScreenshotRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> None:
        """Send pictures as files, in pieces."""
        with account().hold("screenshots"):
            try:
                async with time_limit(SCREENSHOT_SECONDS):
                    await self._send_screenshots(request, context)
            except TimeoutError:
                raise ScreenBusy(
                    f"the screenshot was not taken within {SCREENSHOT_SECONDS:g} s"
                ) from None

    def _why_nothing(self, scanouts: Sequence[Scanout]) -> str:
        """Say why these show nothing."""
        name, number = self._model.name, scanouts[0].number
        if any(one.enabled for one in scanouts):
            return f"{name} shows nothing: its driver has set no scanout yet"
        which = f" --scanout {number}" if number else ""
        return (
            f"{name} shows nothing: its screen {number} is disconnected, and"
            f" `virtmesh screen mode {name} WIDTHxHEIGHT{which}` connects it"
        )

    async def _send_screenshots(
        self, request: pb.ScreenshotRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> None:
        """Send the pictures that a request asks for. Errors: NoSuchScanout; NoPicture."""
        if request.HasField("scanout"):
            chosen = [self._find(request.scanout)]
        else:
            chosen = [one for one in self._model.scanouts if one.picture is not None]
        if not any(one.picture for one in chosen):
            raise NoPicture(self._why_nothing(chosen or self._model.scanouts))
        is_raw = request.format == pb.IMAGE_FORMAT_RAW
        for scanout in chosen:
            picture = scanout.picture
            if picture is None:
                continue
            width, height = picture.width, picture.height
            work = partial(take_shot, picture, request, scanout.cursor)
            del picture  # A client that does not read keeps none alive.
            parts = await self._on_thread(work, self._encoders)
            del work
            for piece in (
                part[start : start + PIECE_BYTES]
                for part in parts
                for start in range(0, len(part), PIECE_BYTES)
            ):
                await context.write(
                    pb.ScreenshotResponse(
                        scanout=scanout.number,
                        width=width,
                        height=height,
                        stride=width * PIXEL if is_raw else 0,
                        data=bytes(piece),
                    )
                )

    async def Watch(  # type: ignore[override]  # as for Screenshot
        self, request: pb.WatchRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> None:
        """Send the picture, and then what changes."""
        scanout = self._find(request.scanout)
        rate = min(request.updates_per_second, UPDATES_MAX)
        with (
            account().hold("screen-watchers"),
            scanout.watching() as watcher,
        ):
            while True:
                await watcher.news.wait()
                if self._closing:
                    raise ShuttingDown("the device service is stopping")
                watcher.news.clear()
                begin = time.monotonic()
                await self._send_update(scanout, watcher, context)
                await asyncio.sleep(pause_after(begin, time.monotonic(), rate))

    async def _send_update(
        self,
        scanout: Scanout,
        watcher: Watcher,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> None:
        """Send all that has changed since the last update."""
        picture, is_new = scanout.picture, watcher.is_new
        rects, flushes = watcher.damage.take(), scanout.take_flushes(watcher)
        update = watcher.updates
        message = pb.WatchResponse(
            update=update,
            width=picture.width if picture else 0,
            height=picture.height if picture else 0,
            is_new=is_new,
        )
        if watcher.cursor_moved:
            shape_changed = watcher.cursor_image is not scanout.cursor.image
            watcher.cursor_image = scanout.cursor.image
            message.cursor.CopyFrom(to_message(scanout.cursor, with_image=shape_changed))
        watcher.is_new = watcher.cursor_moved = False
        if picture is not None:
            shows, width, height = scanout.shows, picture.width, picture.height
            del picture  # A client that does not read keeps none alive.
            if is_new:
                rects = [Rect(0, 0, width, height)]
            for piece in pieces_of(rects):
                if message.changes:
                    await context.write(message)
                    message = pb.WatchResponse(update=update, width=width, height=height)
                if scanout.picture is None or scanout.shows != shows:
                    break  # There is another picture: the next update has it whole.
                read = partial(scanout.picture.read, piece.place)
                pixels = await self._on_thread(read, self._readers)
                message.changes.add(
                    x=piece.x, y=piece.y, width=piece.width, height=piece.height, pixels=pixels
                )
        message.last = True
        message.flushes = flushes
        await context.write(message)

    async def SetMode(
        self, request: pb.SetModeRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.SetModeResponse:
        """Give a screen another mode, or disconnect it."""
        scanout = self._find(request.scanout)
        is_off = not request.width and not request.height
        mode = None if is_off else Mode(request.width, request.height)
        self._model.set_mode(scanout.number, mode)
        return pb.SetModeResponse()

    async def GetStats(
        self, request: pb.GetStatsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.GetStatsResponse:
        """Return the counters."""
        return pb.GetStatsResponse(
            scanouts=[
                pb.ScanoutStats(
                    flushes=scanout.flushes,
                    damage_bytes=scanout.damage_bytes,
                    watchers=len(scanout.watchers),
                    flushes_merged=scanout.flushes_merged,
                    watching=[
                        pb.WatcherStats(
                            updates=one.updates,
                            flushes=one.flushes_taken,
                            flushes_merged=one.flushes_merged,
                        )
                        for one in scanout.watchers
                    ],
                )
                for scanout in self._model.scanouts
            ],
            resources=len(self._model.resources),
            resource_bytes=self._model.resources.memory,
        )

    @staticmethod
    async def _on_thread(work: partial[Made], threads: ThreadPoolExecutor) -> Made:
        """Read or encode pixels where it holds nobody up."""
        return await asyncio.get_running_loop().run_in_executor(threads, work)

    def _find(self, number: int) -> Scanout:
        """Return a scanout. Errors: NoSuchScanout."""
        scanouts = self._model.scanouts
        if number >= len(scanouts):
            raise NoSuchScanout(
                f"{self._model.name} has no scanout {number}: it has {len(scanouts)}, from 0 on",
                scanouts=len(scanouts),
            )
        return scanouts[number]


def pause_after(begin: float, now: float, rate: int) -> float:
    """Return how long to wait after an update that began at `begin`, for so many a second.

    Times are in seconds. A rate of 0 is no limit. What was late is not made up for.
    """
    return max(0.0, begin + 1 / rate - now) if rate else 0.0


def take_shot(picture: Picture, request: pb.ScreenshotRequest, cursor: Cursor) -> list[memoryview]:
    """Return a picture as the request wants it, in parts that follow each other."""
    width, height = picture.width, picture.height
    pixels = picture.read((0, 0, width, height))
    if request.with_cursor and cursor.image:
        parts = draw_cursor(pixels, width, height, cursor)
    else:
        parts = [memoryview(pixels)]
    if request.format == pb.IMAGE_FORMAT_RAW:
        return parts
    return [encode_png(parts, width, height)]


def pieces_of(rects: list[Rect]) -> Iterator[Rect]:
    """Cut rectangles into pieces that fit a message: some rows each."""
    for rect in rects:
        rows = max(1, PIECE_BYTES // (rect.width * PIXEL))
        for y in range(rect.y, rect.bottom, rows):
            yield Rect(rect.x, y, rect.width, min(rows, rect.bottom - y))


def to_message(cursor: Cursor, *, with_image: bool = False) -> pb.Cursor:
    """Put a cursor into a message."""
    return pb.Cursor(
        visible=bool(cursor.image),
        x=cursor.x,
        y=cursor.y,
        hot_x=cursor.hot_x,
        hot_y=cursor.hot_y,
        image=cursor.image if with_image else b"",
    )
