"""The screens of a GPU, for people and scripts on any host."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

from virtmesh_client.channel import ANSWER_SECONDS
from virtmesh_client.screen.models import Pixels, ScanoutInfo, ScanoutStats
from virtmesh_client.screen.watch import ScreenWatch
from virtmesh_common.api.display.v1 import display_pb2 as pb
from virtmesh_common.api.display.v1.display_pb2_grpc import DisplayServiceStub
from virtmesh_common.gpu import errors  # noqa: F401 - so that its classes are known

if TYPE_CHECKING:
    from virtmesh_client.channel import Cancellable, KernelChannel


class Screen:
    """The screens of a GPU; most have one, with the number 0. A picture is what was flushed last.

    Errors of all methods: DeviceNotFound, DeviceLost, ServiceUnavailable; NoSuchScanout.

    Example:
        with virtmesh_client.connect() as machine:
            Path("screen.png").write_bytes(machine.screen("gpu0").shot())
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
        self, scanout: int = 0, *, updates_per_second: int = 0, cursor: bool = True
    ) -> ScreenWatch:
        """Watch a screen: first the whole picture, then what changes. Close it, or use a `with`.

        `updates_per_second` is the most that are wanted, 0: as many as there are. With
        `cursor=False` the updates have no cursor, and those that only move it are left out.
        Errors: those of `ScreenWatch`, when the first update is read.
        """
        call = self._stub.Watch(
            pb.WatchRequest(scanout=scanout, updates_per_second=updates_per_second),
            metadata=self._channel.metadata(self.name),
        )
        return ScreenWatch(self._channel, call, self.name, with_cursor=cursor)

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
            )
            for number, one in enumerate(found.scanouts)
        ]

    def _take(self, scanout: int, encoding: pb.ImageFormat.ValueType, cursor: bool) -> Pixels:  # noqa: FBT001
        """Return a screenshot; its data is encoded as asked for."""
        request = pb.ScreenshotRequest(scanout=scanout, format=encoding, with_cursor=cursor)
        limit = ANSWER_SECONDS if self._channel.timeout is None else self._channel.timeout
        bound = None if math.isinf(limit) else limit
        pieces, width, height = [], 0, 0
        with self._channel.errors(limit):
            call = self._stub.Screenshot(
                request, timeout=bound, metadata=self._channel.metadata(self.name)
            )
            with self._channel.running(cast("Cancellable", call)):
                for message in self._channel.messages(call):
                    pieces.append(message.data)
                    width, height = message.width, message.height
        return Pixels(width, height, b"".join(pieces))
