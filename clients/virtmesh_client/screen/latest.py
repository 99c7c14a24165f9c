"""The newest picture of a screen, kept by a thread while another one looks for something in it.

The thread applies all updates as they come, so whoever takes a picture gets the newest one, however
long it takes to look at it. If the GPU's service goes away, the thread waits until it is back.

Invariant: `_picture` and what is known of it are read and written under `_change`.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from virtmesh_client.screen.models import Pixels
from virtmesh_client.screen.update import Picture
from virtmesh_common.errors import DeviceLost, ServiceUnavailable, ShuttingDown, VirtmeshError

if TYPE_CHECKING:
    from collections.abc import Callable

    from virtmesh_client.screen.models import Rectangle
    from virtmesh_client.screen.update import Cursor, Update
    from virtmesh_client.screen.watch import ScreenWatch

COMES_BACK = (DeviceLost, ServiceUnavailable, ShuttingDown)
"""What a service that may come back fails with."""
RETRY_SECONDS = 0.5
"""Pause before a service that went away is tried again."""
FIRST_SECONDS = 10.0
"""How long the first picture is waited for, even if a time limit is shorter."""
JOIN_SECONDS = 5.0
WAKE_SECONDS = 0.5
"""Longest wait at a time. Python handles Ctrl-C after it, if that came just before the wait."""


@dataclass(frozen=True)
class Seen:
    """A picture that was taken."""

    version: int
    """Counts the updates."""
    pixels: Pixels
    """Its width is 0 while nothing is shown."""
    changed: Rectangle
    """A rectangle that has all in it that changed since the picture that was taken before."""
    cursor: Cursor | None
    """None if it is not watched, or was never shown."""
    time: float
    """When the last update came, by `time.monotonic`."""


class LatestPicture:
    """The newest picture. Use it in a `with`; any thread may cancel it.

    `region` is what has to be still for `wait_still`; None: all of the picture.
    """

    def __init__(
        self, open_watch: Callable[[], ScreenWatch], region: Rectangle | None = None
    ) -> None:
        self._open = open_watch
        self._region = region
        self._change = threading.Condition()
        self._watch: ScreenWatch | None = None
        self._picture = Picture()
        self._version = 0
        self._changed: Rectangle | None = None
        self._cursor: Cursor | None = None
        self._time = 0.0
        self._still_since: float | None = None
        """When the last pixel of the region changed; None while there is no such region."""
        self._part = b""
        """The pixels of the region."""
        self._error: VirtmeshError | None = None
        self._closed = self._hurry = False
        self._thread = threading.Thread(target=self._run, name="virtmesh screen", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.cancel()
        self._thread.join(JOIN_SECONDS)

    def cancel(self) -> None:
        """End it. Who waits for a picture gets an error."""
        with self._change:
            self._closed = True
            watch = self._watch
            self._change.notify_all()
        if watch is not None:
            watch.close()

    def hurry(self) -> None:
        """Let nobody wait any more: `take` returns what there is."""
        with self._change:
            self._hurry = True
            self._change.notify_all()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the newest picture; 0 while nothing is shown."""
        with self._change:
            return self._picture.width, self._picture.height

    @property
    def has_come(self) -> bool:
        """True after the first picture, even if it says that nothing is shown."""
        with self._change:
            return self._version > 0

    def take(self, version: int, deadline: float | None) -> Seen | None:
        """Wait for a picture that is newer than a version, until `time.monotonic()` is `deadline`.

        Errors: VirtmeshError, when the stream has failed for good, or was cancelled.
        """
        with self._change:
            while self._version <= version:
                self._check()
                if not self._wait(deadline):
                    return None
            picture = self._picture
            changed, self._changed = self._changed, None
            pixels = Pixels(picture.width, picture.height, bytes(picture.data))
            box = changed or (0, 0, 0, 0)
            return Seen(self._version, pixels, box, self._cursor, self._time)

    def wait_still(self, seconds: float, deadline: float | None) -> Pixels | None:
        """Wait until no pixel has changed for so long; None at the deadline. Errors: as `take`.

        The first picture is waited for beyond the deadline.
        """
        first = deadline_of_first(deadline)
        with self._change:
            while not self._version:
                self._check()
                if not self._wait(first):
                    break
            while True:
                self._check()
                now = time.monotonic()
                since = self._still_since
                if since is not None and now - since >= seconds:
                    picture = self._picture
                    return Pixels(picture.width, picture.height, bytes(picture.data))
                if deadline is not None and now >= deadline:
                    return None
                due = None if since is None else since + seconds
                self._wait(min((one for one in (due, deadline) if one is not None), default=None))

    def pause(self, seconds: float, deadline: float | None) -> None:
        """Wait for so long, but not beyond the deadline. Errors: as `take`."""
        end = time.monotonic() + seconds
        if deadline is not None:
            end = min(end, deadline)
        with self._change:
            while self._wait(end):
                self._check()

    def _wait(self, deadline: float | None) -> bool:
        """Wait for news, or for a while; False if it is too late for that."""
        left = None if deadline is None else deadline - time.monotonic()
        if self._hurry or (left is not None and left <= 0):
            return False
        self._change.wait(WAKE_SECONDS if left is None else min(left, WAKE_SECONDS))
        return True

    def _check(self) -> None:
        """Raise what has ended the stream, if it has."""
        if self._closed:
            raise VirtmeshError("the call was cancelled")
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        """Receive updates until it is closed, or fails for good."""
        error = VirtmeshError("the thread that follows the screen has failed")
        try:
            while not self._closed:
                failure = self._follow()
                if not isinstance(failure, COMES_BACK) or not self._version:
                    error = failure
                    return
                with self._change:
                    self._still_since = None
                    # Not cut short by `hurry`: it would try again and again.
                    self._change.wait_for(lambda: self._closed, RETRY_SECONDS)
        finally:
            with self._change:
                self._error = error
                self._change.notify_all()

    def _follow(self) -> VirtmeshError:
        """Receive the updates of one stream; return why it has ended."""
        try:
            with self._open() as watch:
                with self._change:
                    self._watch = watch
                    if self._closed:
                        watch.close()
                for update in watch:
                    with self._change:
                        self._take(update)
                        self._change.notify_all()
        except VirtmeshError as error:
            return error
        except ValueError as error:  # gRPC's: the machine was closed meanwhile
            return VirtmeshError(f"the screen can't be watched: {error}")
        return DeviceLost("the stream of the screen ended")

    def _take(self, update: Update) -> None:
        """Apply an update, but for half a picture: the next one has another."""
        if not update.is_whole:
            return
        picture = self._picture
        differs = picture.apply(update)
        self._version += 1
        self._cursor = update.cursor or self._cursor
        self._time = time.monotonic()
        boxes = [(one.x, one.y, one.width, one.height) for one in update.changes]
        if update.is_new:
            boxes = [(0, 0, update.width, update.height)]
            self._changed = None
        self._changed = around([self._changed, *boxes])
        if self._region is not None and (differs or self._still_since is None):
            part = cut_region(picture, self._region)
            differs, self._part = part != self._part, part
            if not part:
                self._still_since = None
                return
        if not picture.width:
            self._still_since = None
        elif differs or self._still_since is None:
            self._still_since = self._time


def deadline_of_first(deadline: float | None) -> float | None:
    """Return until when the first picture is waited for, by `time.monotonic`."""
    return None if deadline is None else max(deadline, time.monotonic() + FIRST_SECONDS)


def explain_silence(timeout: float | None) -> str:
    """Say that no picture came within a time limit, in seconds."""
    return f"no picture came within {max(timeout or 0.0, FIRST_SECONDS):g} s"


def cut_region(picture: Picture, region: Rectangle) -> bytes:
    """Return the pixels of a region; none if it is not inside of the picture."""
    x, y, width, height = region
    if x + width > picture.width or y + height > picture.height:
        return b""
    return picture.cut(x, y, width, height)


def around(rectangles: list[Rectangle | None]) -> Rectangle | None:
    """Return the smallest rectangle that has all in it; None without any."""
    there = [one for one in rectangles if one is not None]
    if not there:
        return None
    left = min(x for x, _, _, _ in there)
    top = min(y for _, y, _, _ in there)
    right = max(x + width for x, _, width, _ in there)
    bottom = max(y + height for _, y, _, height in there)
    return left, top, right - left, bottom - top
