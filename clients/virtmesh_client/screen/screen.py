"""The screens of a GPU, for people and scripts on any host."""

from __future__ import annotations

import contextlib
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from virtmesh_client.channel import ANSWER_SECONDS
from virtmesh_client.extras import needing
from virtmesh_client.screen.latest import LatestPicture, explain_silence
from virtmesh_client.screen.models import Pixels, ScanoutInfo, ScanoutStats, WatcherStats
from virtmesh_client.screen.update import PIXEL_BYTES
from virtmesh_client.screen.watch import PICTURE_BYTES_MAX, PIECES_MAX, ScreenWatch
from virtmesh_common.api.display.v1 import display_pb2 as pb
from virtmesh_common.api.display.v1.display_pb2_grpc import DisplayServiceStub
from virtmesh_common.errors import BadStream
from virtmesh_common.gpu.errors import ScreenTimeout

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

    from virtmesh_client.channel import Cancellable, KernelChannel
    from virtmesh_client.screen.models import Match, Rectangle
    from virtmesh_client.screen.needle import Source
    from virtmesh_client.screen.recording import ScreenRecording

WAIT_SECONDS = 30.0
"""Default limit for waiting until a screen shows something."""
TOLERANCE = 0.02
"""Default tolerance of `expect`: one pixel of 2500 may be black instead of white."""
LAST_LOOK_SECONDS = 5.0
"""How long the last picture of a recording may take."""
LOOKS_PER_SECOND = 50
"""Most updates a second that are asked for by who waits."""


class Screen:
    """The screens of a GPU; most have one, with the number 0. A picture is what was flushed last.

    Errors of all methods: DeviceNotFound, DeviceLost, ServiceUnavailable; NoSuchScanout; BadStream
    if the service sends what can't be.

    Example:
        with virtmesh_client.connect() as machine:
            Path("screen.png").write_bytes(machine.screen("gpu").shot())
    """

    def __init__(self, channel: KernelChannel, name: str) -> None:
        self.name = name
        self._channel = channel
        self._stub = DisplayServiceStub(channel.grpc)

    def info(self) -> list[ScanoutInfo]:
        """Describe each screen."""
        found = self._channel.ask(self._stub.Describe, pb.DescribeRequest(), self.name)
        return [
            ScanoutInfo(
                number=one.number,
                connected=one.enabled,
                mode=(one.mode_width, one.mode_height),
                picture=(one.width, one.height) if one.width else None,
                cursor=(one.cursor.x, one.cursor.y) if one.cursor.visible else None,
            )
            for one in found.scanouts
        ]

    def shot(self, scanout: int = 0, *, cursor: bool = False) -> bytes:
        """Return the picture of a screen as PNG. Errors: NoPicture."""
        return self._take(scanout, pb.IMAGE_FORMAT_PNG, cursor).data

    def pixels(self, scanout: int = 0, *, cursor: bool = False) -> Pixels:
        """Return the picture of a screen as it is. Errors: NoPicture."""
        return self._take(scanout, pb.IMAGE_FORMAT_RAW, cursor)

    def watch(
        self,
        scanout: int = 0,
        *,
        updates_per_second: int = 0,
        cursor: bool = True,
        retry_for: float | None = None,
    ) -> ScreenWatch:
        """Watch a screen: first the whole picture, then what changes. Close it, or use a `with`.

        `updates_per_second` is the most that are wanted, 0: as many as there are. With
        `cursor=False` the updates have no cursor, and those that only move it are left out. For
        `retry_for`, see `connect`.
        Errors: those of `ScreenWatch`, when the first update is read.
        """
        request = pb.WatchRequest(scanout=scanout, updates_per_second=updates_per_second)

        def begin() -> Any:
            return self._stub.Watch(request, metadata=self._channel.metadata(self.name))

        return ScreenWatch(self._channel, begin, self.name, with_cursor=cursor, retry_for=retry_for)

    def wait_still(
        self,
        seconds: float = 1.0,
        *,
        timeout: float | None = WAIT_SECONDS,
        region: Rectangle | None = None,
        scanout: int = 0,
    ) -> Pixels:
        """Wait until nothing has changed for so many seconds, and return the picture.

        `region` is what has to be still: first column and row, width and height. The cursor of the
        GPU does not count, nor what is drawn again with the same pixels. `timeout` is in seconds,
        0: look once; None: no limit. If the GPU's service is restarted, it waits for it.
        Errors: ScreenTimeout; ValueError for an impossible region or time.
        """
        check_region(region)
        deadline = deadline_of(timeout)
        if not seconds >= 0:
            raise ValueError(f"{seconds} is no time in seconds")
        with self._latest(scanout, region) as latest:
            found = latest.wait_still(seconds, deadline)
            size = latest.size if latest.has_come else None
        if found is None:
            raise explain_not_still(self.name, seconds, timeout, size, region)
        return found

    def expect(  # noqa: PLR0913 - what is looked for has many sides
        self,
        needle: Source | Sequence[Source],
        *,
        timeout: float | None = WAIT_SECONDS,
        tolerance: float = TOLERANCE,
        region: Rectangle | None = None,
        mask: Source | None = None,
        save_to: str | os.PathLike[str] | None = None,
        scanout: int = 0,
    ) -> Match:
        """Wait until the screen shows a picture, and return where. It needs the extra `vision`.

        `needle` is a PNG file (path or bytes), an array of RGB or RGBA, or an image of Pillow; of a
        list of them, one has to be shown. Pixels of it that are not opaque are not compared, nor
        those that are black in `mask`, a picture of the same size. `tolerance` is how far the
        root of the mean square of all differences may be from 0: 0 for equal pixels, 1 for black
        instead of white. `region` is where to look: first column and row, width and height.
        `timeout` is in seconds, 0: look once; None: no limit. If the GPU's service is restarted, it
        waits for it.

        If nothing is found, three files are saved in the folder `save_to`, or in a new temporary
        one: what was seen, the nearest match beside the needle, and the difference of the two.
        Errors: ScreenTimeout, which says the best score and where, and names the files; BadNeedle;
        ExtraMissing; OSError; ValueError for an impossible region, tolerance or time.
        """
        with needing("vision", "expect"):
            from virtmesh_client.screen.expect import Wanted, wait_for  # noqa: PLC0415
            from virtmesh_client.screen.needle import load_needles  # noqa: PLC0415
        check_region(region)
        deadline_of(timeout)
        if not 0 <= tolerance <= 1:
            raise ValueError(f"a tolerance of {tolerance}: it is 0 to 1")
        wanted = Wanted(
            name=self.name,
            scanout=scanout,
            needles=load_needles(needle, mask),
            tolerance=tolerance,
            region=region,
            timeout=timeout,
            save_to=None if save_to is None else Path(save_to),
        )
        with self._latest(scanout) as latest:
            return wait_for(wanted, latest)

    def record(
        self,
        path: str | os.PathLike[str],
        *,
        frames_per_second: float = 25.0,
        cursor: bool = True,
        overwrite: bool = False,
        scanout: int = 0,
    ) -> ScreenRecording:
        """Record a screen to a file while a `with` lasts. It needs the extra `video`.

        A name that ends in .webm is a VP9 film, for browsers and players; one in .apng or .png has
        all pixels as they were. Frames have the times when the pictures came, and there are at most
        `frames_per_second`. If the GPU's service is restarted, the recording goes on.
        Errors: ExtraMissing; ValueError for another name; those of `ScreenRecording`, when it
        begins and ends.
        """
        with needing("video", "record"):
            from virtmesh_client.screen.recording import ScreenRecording  # noqa: PLC0415

        def open_watch() -> ScreenWatch:
            return self.watch(
                scanout, updates_per_second=LOOKS_PER_SECOND, cursor=cursor, retry_for=0
            )

        def look() -> Pixels:
            return self._take(scanout, pb.IMAGE_FORMAT_RAW, False, LAST_LOOK_SECONDS)  # noqa: FBT003

        return ScreenRecording(
            LatestPicture(open_watch),
            look,
            Path(path),
            frames_per_second=frames_per_second,
            overwrite=overwrite,
        )

    def set_mode(self, width: int, height: int, scanout: int = 0) -> None:
        """Give a screen another preferred mode. The guest may follow it. Errors: BadMode."""
        request = pb.SetModeRequest(scanout=scanout, width=width, height=height)
        self._channel.ask(self._stub.SetMode, request, self.name)

    def disconnect(self, scanout: int = 0) -> None:
        """Disconnect a screen, until it is given a mode."""
        self._channel.ask(self._stub.SetMode, pb.SetModeRequest(scanout=scanout), self.name)

    def stats(self) -> list[ScanoutStats]:
        """Return the counters of each screen."""
        found = self._channel.ask(self._stub.GetStats, pb.GetStatsRequest(), self.name)
        return [
            ScanoutStats(
                number=number,
                flushes=one.flushes,
                damage_bytes=one.damage_bytes,
                watchers=one.watchers,
                flushes_merged=one.flushes_merged,
                watching=tuple(
                    WatcherStats(each.updates, each.flushes, each.flushes_merged)
                    for each in one.watching
                ),
            )
            for number, one in enumerate(found.scanouts)
        ]

    @contextlib.contextmanager
    def _latest(self, scanout: int, region: Rectangle | None = None) -> Iterator[LatestPicture]:
        """Follow a screen while the body looks for something; whoever awaits it may cancel it."""

        def open_watch() -> ScreenWatch:
            return self.watch(
                scanout, updates_per_second=LOOKS_PER_SECOND, cursor=False, retry_for=0
            )

        latest = LatestPicture(open_watch, region)
        with self._channel.running(latest), latest:
            yield latest

    def _take(
        self,
        scanout: int,
        encoding: pb.ImageFormat.ValueType,
        cursor: bool,  # noqa: FBT001
        seconds: float = ANSWER_SECONDS,
    ) -> Pixels:
        """Return a screenshot; its data is encoded as asked for."""
        request = pb.ScreenshotRequest(scanout=scanout, format=encoding, with_cursor=cursor)
        limit = seconds if self._channel.timeout is None else self._channel.timeout
        bound = None if math.isinf(limit) else limit
        pieces, width, height, size = [], 0, 0, 0
        with self._channel.errors(limit):
            call = self._stub.Screenshot(
                request, timeout=bound, metadata=self._channel.metadata(self.name)
            )
            with self._channel.running(cast("Cancellable", call)):
                for message in self._channel.messages(call):
                    pieces.append(message.data)
                    width, height = message.width, message.height
                    size += len(message.data)
                    if size > PICTURE_BYTES_MAX or len(pieces) > PIECES_MAX:
                        raise BadStream(f"{self.name} sent a screenshot that is too large")
        if not width or not height:
            raise BadStream(f"{self.name} sent no screenshot")
        if encoding == pb.IMAGE_FORMAT_RAW and size != width * height * PIXEL_BYTES:
            raise BadStream(f"{self.name} sent {size} bytes for {width}x{height} pixels")
        return Pixels(width, height, b"".join(pieces))


def check_region(region: Rectangle | None) -> None:
    """Refuse a region that no screen has. Errors: ValueError."""
    if region is not None:
        x, y, width, height = region
        if x < 0 or y < 0 or width <= 0 or height <= 0:
            raise ValueError(
                f"{x},{y},{width},{height} is no region: give first column and row,"
                " width and height"
            )


def deadline_of(timeout: float | None) -> float | None:
    """Return the time of `time.monotonic` when a call must end; None for no limit.

    Errors: ValueError.
    """
    if timeout is None or timeout == math.inf:
        return None
    if not timeout >= 0:
        raise ValueError(f"{timeout} is no time in seconds")
    return time.monotonic() + timeout


def explain_not_still(
    name: str,
    seconds: float,
    timeout: float | None,
    size: tuple[int, int] | None,
    region: Rectangle | None,
) -> ScreenTimeout:
    """Return the error about a screen that was not still. Without a size it has not answered."""
    text = f"{name} was not still for {seconds:g} s within {timeout:g} s"
    if size is None:
        text += f": {explain_silence(timeout)}"
    elif size == (0, 0):
        text += ": it shows nothing"
    elif region and (region[0] + region[2] > size[0] or region[1] + region[3] > size[1]):
        text += ": the region is outside of the screen of {}x{}".format(*size)
    return ScreenTimeout(text)
