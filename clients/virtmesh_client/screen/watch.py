"""A stream of what changes on a screen.

What a service sends is checked before it is used, so that a bad one can't fill the memory: the size
of the picture, each rectangle, and how much there is in one update.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Self

import grpc

from virtmesh_client.patience import Patience
from virtmesh_client.screen.update import CURSOR_SIDE, PIXEL_BYTES, Change, Cursor, Update
from virtmesh_common.errors import BadStream, VirtmeshError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from virtmesh_client.channel import KernelChannel
    from virtmesh_common.api.display.v1 import display_pb2 as pb

SIDE_MAX = 16384
"""Largest width and height of a picture, in pixels: more than a GPU has."""
PICTURE_BYTES_MAX = 256 << 20
"""Most bytes of the pixels of a picture."""
PIECES_MAX = 4096
"""Most messages, and most rectangles, of one update. A service needs a few hundred."""
CURSOR_BYTES = CURSOR_SIDE * CURSOR_SIDE * PIXEL_BYTES


class ScreenWatch:
    """An open stream of updates: first the whole picture, then what changes.

    Iterate over it, and close it or use it in a `with`. It ends when any thread closes it. Slow
    readers miss no pixel: changes add up in the device. When the kernel service was restarted, it
    goes on with the whole picture: an update that `is_new`; flushes before it may be missing. A
    device that is lost ends it: watch again.

    Errors: NoSuchScanout; LimitReached if too many watch; DeviceNotFound, DeviceLost, ShuttingDown,
    ServiceUnavailable; BadStream if the service sends what can't be.

    Example:
        with machine.screen("gpu").watch() as updates:
            first = next(updates)
        print(first.width, first.height)
    """

    def __init__(
        self,
        channel: KernelChannel,
        begin: Callable[[], Any],
        device: str,
        *,
        with_cursor: bool = True,
        retry_for: float | None = None,
    ) -> None:
        """`begin` begins the call. For `retry_for`, see `connect`."""
        self._channel = channel
        self._begin_call = begin
        self._device = device
        self._with_cursor = with_cursor
        self._patience = Patience(channel, retry_for)
        self._lock = threading.Lock()
        self._closed = False
        self._begun = 0.0
        """When the stream was begun, by the steady clock."""
        self._before = 0
        """Updates of the streams before this one."""
        self._call: Any = None
        self._messages: Iterator[pb.WatchResponse] = iter(())
        self._open()
        self._size = (0, 0)
        self._image = b""
        """The image of the cursor that came last."""
        self._number = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Update]:
        return self

    def __next__(self) -> Update:
        while True:
            try:
                update = self._next_update()
            except BadStream:
                self.close()
                raise
            except VirtmeshError as error:
                self._resume(error)
                continue
            if self._with_cursor or update.is_new or update.changes or update.flushes:
                return update

    def close(self) -> None:
        """End the stream. Any thread may call this. In a forked child nothing happens."""
        if self._channel.forked:
            return
        with self._lock:
            self._closed = True
            call = self._call
        call.cancel()

    cancel = close

    def _open(self) -> None:
        """Open a stream."""
        self._begun = time.monotonic()
        call = self._begin_call()
        with self._lock:
            self._call = call
            if self._closed:
                call.cancel()
        self._messages = iter(call)

    def _resume(self, error: VirtmeshError) -> None:
        """Go on with another stream. Errors: `error`, if that is not to be tried; StopIteration."""
        self._patience.bear(error)
        if self._closed:
            raise StopIteration
        self._before, self._number = self._before + self._number, 0
        self._open()

    def _next_update(self) -> Update:
        """Put the pieces of the next update together. Errors: StopIteration; as of the class."""
        first = self._receive()
        self._begin(first)
        changes: list[Change] = []
        cursor: pb.Cursor | None = None
        room, pieces, message = self._size[0] * self._size[1], 0, first
        while True:
            if (message.update, message.width, message.height) != (self._number, *self._size):
                raise self._bad("a piece of another update before the last one of this")
            pieces += max(1, len(message.changes))
            for change in message.changes:
                room -= self._check_change(change)
                if room < 0:
                    raise self._bad("an update with more pixels than the picture has")
                changes.append(
                    Change(change.x, change.y, change.width, change.height, change.pixels)
                )
            if message.HasField("cursor"):
                cursor = self._check_cursor(message.cursor)
            if message.last:
                break
            if pieces > PIECES_MAX:
                raise self._bad(f"an update of more than {PIECES_MAX} pieces")
            message = self._receive()
        return Update(
            number=self._before + self._number,
            width=self._size[0],
            height=self._size[1],
            is_new=first.is_new,
            changes=tuple(changes),
            cursor=self._to_cursor(cursor),
            flushes=message.flushes,
        )

    def _receive(self) -> pb.WatchResponse:
        """Return the next message. Errors: StopIteration at the end of the stream."""
        with self._channel.errors():
            try:
                self._channel.check_process()
                message = next(self._messages)
            except grpc.RpcError:
                if self._closed:
                    raise StopIteration from None
                raise
        self._channel.presence.note_answer(self._begun)
        self._patience.renew()
        return message

    def _begin(self, first: pb.WatchResponse) -> None:
        """Check the first piece of an update. Errors: BadStream."""
        self._number += 1
        width, height = first.width, first.height
        if first.update != self._number:
            raise self._bad(f"update {first.update} where update {self._number} is due")
        if max(width, height) > SIDE_MAX or width * height * PIXEL_BYTES > PICTURE_BYTES_MAX:
            raise self._bad(f"a picture of {width}x{height} pixels, which is too large")
        if not first.is_new and (self._number == 1 or (width, height) != self._size):
            raise self._bad("a part of a picture before the whole of it")
        self._size = (width, height)

    def _check_change(self, change: pb.Change) -> int:
        """Return how many pixels a rectangle has. Errors: BadStream."""
        width, height = self._size
        pixels = change.width * change.height
        if not pixels or change.x + change.width > width or change.y + change.height > height:
            raise self._bad(
                f"a rectangle of {change.width}x{change.height} at {change.x},{change.y} in a"
                f" picture of {width}x{height}"
            )
        if len(change.pixels) != pixels * PIXEL_BYTES:
            raise self._bad(f"{len(change.pixels)} bytes for {pixels} pixels")
        return pixels

    def _check_cursor(self, cursor: pb.Cursor) -> pb.Cursor:
        """Return a cursor. Errors: BadStream."""
        if cursor.image and len(cursor.image) != CURSOR_BYTES:
            raise self._bad(f"a cursor of {len(cursor.image)} bytes")
        return cursor

    def _to_cursor(self, cursor: pb.Cursor | None) -> Cursor | None:
        """Return the cursor of an update, with the image that it has now."""
        if cursor is None:
            return None
        self._image = cursor.image or self._image
        if not self._with_cursor:
            return None
        hot_x = min(cursor.hot_x, CURSOR_SIDE - 1)  # a guest may put it anywhere
        hot_y = min(cursor.hot_y, CURSOR_SIDE - 1)
        return Cursor(cursor.visible, cursor.x, cursor.y, hot_x, hot_y, self._image)

    def _bad(self, what: str) -> BadStream:
        """Return the error about something that a service must not send."""
        return BadStream(f"{self._device} sent {what}")
