"""Recording a screen to a file, by a thread. This module needs the extra `video`.

The thread takes the newest picture whenever it is ready for another frame: an encoder that is slow
has fewer frames, at their true times, and nothing piles up. The file is written as it goes on, with
a temporary name, and gets its own at the end.
"""

from __future__ import annotations

import contextlib
import errno
import math
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import av

from virtmesh_client.atomic_file import new_path
from virtmesh_client.screen.latest import FIRST_SECONDS, WAKE_SECONDS, Seen
from virtmesh_client.screen.video import FORMATS, VideoFile
from virtmesh_common.errors import VirtmeshError
from virtmesh_common.gpu.errors import NoPicture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from virtmesh_client.screen.latest import LatestPicture
    from virtmesh_client.screen.models import Pixels

REPEAT_SECONDS = 10.0
"""A picture that stays is written again so often: players and APNG have a longest frame."""
JOIN_SECONDS = 30.0
"""How long the end of a recording may take."""


@dataclass(frozen=True)
class Recorded:
    """A recording that is over."""

    path: Path
    frames: int
    """Frames in the file."""
    seconds: float
    """How long it is."""
    size_bytes: int


class ScreenRecording:
    """A recording. It begins and ends with a `with`, or with `start` and `stop`.

    Time 0 is that of the first picture. While the driver shows nothing, the last picture stays. The
    file has the size of the first picture; those of other sizes are scaled to fit.

    Example:
        with machine.screen("gpu").record("boot.webm"):
            machine.serial().expect("login: ")
    """

    def __init__(
        self,
        latest: LatestPicture,
        look: Callable[[], Pixels],
        path: Path,
        *,
        frames_per_second: float,
        overwrite: bool,
    ) -> None:
        """Prepare. `look` takes a screenshot, for the last frame.

        Errors: ValueError for a name of another kind of file, or an impossible rate.
        """
        if path.suffix.lower() not in FORMATS:
            raise ValueError(f"{path} has no format: choose a name that ends in .webm or .apng")
        if not 0 < frames_per_second <= 1000:
            raise ValueError(f"{frames_per_second} frames a second: choose more than 0, to 1000")
        self.path = path
        self._latest = latest
        self._look = look
        self._rate = frames_per_second
        self._overwrite = overwrite
        self._stack = contextlib.ExitStack()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="virtmesh video", daemon=True)
        self._video: VideoFile | None = None
        self._last: Seen | None = None
        """The picture of the last frame."""
        self._begin = 0.0
        self._final: Pixels | None = None
        self._end_time: float | None = None
        self._frames, self._seconds = 0, 0.0
        self._lost: VirtmeshError | None = None
        """Why the screen can't be watched any more."""
        self._broken: BaseException | None = None
        """Why the file can't be written."""
        self._result: Recorded | None = None
        self._beginning = threading.Lock()
        """Held where a beginning succeeds, or is cancelled."""
        self._begun = self._cancelled = False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        try:
            self.stop()
        except (VirtmeshError, OSError):
            if kind is None:  # The error of the body says more.
                raise

    def start(self) -> None:
        """Begin. Errors: FileExistsError; OSError; NoSuchScanout and others of a watch."""
        with contextlib.ExitStack() as stack:
            scratch = stack.enter_context(new_path(self.path, overwrite=self._overwrite))
            with naming(self.path):
                scratch.touch(exist_ok=False)
                self._video = VideoFile(scratch, self.path.suffix.lower(), self._rate)
            stack.callback(self._close_video)
            stack.enter_context(self._latest)
            self._latest.take(0, time.monotonic() + FIRST_SECONDS)
            with self._beginning:
                if self._cancelled:
                    raise VirtmeshError("the recording was cancelled")
                self._thread.start()
                self._stack = stack.pop_all()
                self._begun = True

    def cancel(self) -> None:
        """End a `start` that another thread is in. If it succeeds anyway, `discard` it."""
        with self._beginning:
            self._cancelled = True
        self._latest.cancel()

    def discard(self) -> None:
        """End it, if it has begun, and leave no file."""
        if not self._begun:
            return
        self._latest.cancel()
        self._over.set()
        self._end()
        self._broken = VirtmeshError(f"the recording of {self.path} was discarded")
        with contextlib.suppress(VirtmeshError), self._stack:
            raise self._broken

    def stop(self) -> Recorded:
        """End it, and return what there is; again if it has ended already.

        What was recorded is kept if the screen can't be watched any more.
        Errors: NoPicture if the screen showed nothing; OSError of the file; what ended the watch.
        """
        if self._result is None:
            self._end()
            with self._stack:
                if self._broken is not None:
                    raise self._broken
                if not self._frames:
                    raise NoPicture(f"nothing was shown: {self.path} would be empty")
            size = self.path.stat().st_size
            self._result = Recorded(self.path, self._frames, self._seconds, size)
        if self._lost is not None:
            raise self._lost
        return self._result

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for so long, or until it has failed; returns whether it is over."""
        end = math.inf if seconds is None else time.monotonic() + seconds
        while not self._over.wait(max(0.0, min(WAKE_SECONDS, end - time.monotonic()))):
            if time.monotonic() >= end:
                return False
        return True

    def _end(self) -> None:
        """Have the thread write the last frame."""
        if not self._over.is_set():
            # What is drawn now may still be on its way through the watch.
            try:
                self._final = self._look()
            except VirtmeshError:
                pass  # The last picture of the watch is the last frame.
            except ValueError as error:  # gRPC's: the machine was closed meanwhile
                self._lost = VirtmeshError(f"the screen can't be watched: {error}")
            finally:
                self._end_time = time.monotonic()
                self._over.set()
        self._latest.hurry()
        self._thread.join(JOIN_SECONDS)
        if self._thread.is_alive():
            self._broken = VirtmeshError(f"{self.path} was not written within {JOIN_SECONDS:g} s")

    def _close_video(self) -> None:
        """Finish the file. Errors: OSError."""
        if self._video is not None and not self._thread.is_alive():
            with naming(self.path):
                self._video.close()

    def _run(self) -> None:
        """Write frames until it is over."""
        try:
            try:
                self._follow()
            except VirtmeshError as error:
                self._lost = error
            self._add_last(self._end_time or time.monotonic())
        except BaseException as error:  # noqa: BLE001 - `stop` raises it
            self._broken = error
        finally:
            self._over.set()

    def _add_last(self, when: float) -> None:
        """Write the last frame, if there is a picture. Errors: OSError."""
        last = self._last
        if last is None and self._final is not None:  # The watch has not brought one yet.
            self._begin = when
            last = Seen(0, self._final, (0, 0, 0, 0), None, when)
        if last is not None:
            self._add(replace(last, pixels=self._final or last.pixels), when)

    def _follow(self) -> None:
        """Write a frame for each picture. Errors: what ends the watch; OSError."""
        version = 0
        while True:
            before = time.monotonic()
            seen = self._latest.take(version, before + REPEAT_SECONDS)
            if seen is None:
                if self._over.is_set():
                    return
                if self._last is not None:
                    self._add(self._last, time.monotonic())
                continue
            version = seen.version
            if not seen.pixels.width:
                continue
            last = self._last
            self._begin = seen.time if last is None else self._begin
            if last is None or (last.pixels, last.cursor) != (seen.pixels, seen.cursor):
                self._add(seen, seen.time)
                self._last = seen
            self._latest.pause(1 / self._rate - (time.monotonic() - before), None)

    def _add(self, seen: Seen, when: float) -> None:
        """Write a frame. Errors: OSError."""
        if self._video is not None:
            with naming(self.path):
                self._video.add(seen, round((when - self._begin) * 1000))
            self._frames = self._video.frames
            self._seconds = self._video.last_ms / 1000


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name the file in errors of the body, by its own name. Errors: OSError."""
    try:
        yield
    except av.FFmpegError as error:
        raise OSError(error.errno or errno.EIO, error.strerror or str(error), str(path)) from None
    except OSError as error:
        error.filename = str(path)
        raise
