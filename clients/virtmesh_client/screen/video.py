"""A file with a moving picture, written frame by frame. This module needs the extra `video`."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any, cast

import av
import numpy as np

from virtmesh_client.screen.update import CURSOR_SIDE, PIXEL_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from av.video.stream import VideoStream
    from numpy.typing import NDArray

    from virtmesh_client.screen.latest import Seen
    from virtmesh_client.screen.update import Cursor

    Pixel = NDArray[np.uint8]

SIDE_MAX = 4096
"""Largest width and height of a film, in pixels: an encoder keeps several frames in memory."""
MILLISECOND = Fraction(1, 1000)
WEBM_OPTIONS = {
    "deadline": "realtime",
    "cpu-used": "8",
    "row-mt": "1",
    "lag-in-frames": "0",  # no frames wait in the encoder
    "tune-content": "screen",
    "crf": "24",
    "b": "0",  # constant quality
}
FORMATS: Mapping[str, tuple[str, str, str, Mapping[str, str]]] = {
    ".webm": ("webm", "libvpx-vp9", "yuv420p", WEBM_OPTIONS),
    ".apng": ("apng", "apng", "rgb24", {"pred": "mixed"}),
    ".png": ("apng", "apng", "rgb24", {"pred": "mixed"}),
}
"""By the end of a file's name: container, codec, pixel format, options of the codec."""
APNG_OPTIONS = {"final_delay": "1/1000"}
"""The last frame is the one before once more, and only says how long that was shown."""


class VideoFile:
    """A file of one size, that of its first picture; others are scaled to fit into it.

    Close it. Errors of all methods: OSError, such as for a full disk.
    """

    def __init__(self, path: Path, suffix: str, frames_per_second: float) -> None:
        self._container, codec, pixel_format, options = FORMATS[suffix]
        extra = APNG_OPTIONS if self._container == "apng" else {}
        self._file = av.open(f"file:{path}", "w", format=self._container, container_options=extra)
        rate = Fraction(frames_per_second).limit_denominator(1000)
        stream = self._file.add_stream(codec, rate=rate, options=dict(options))
        self._stream = cast("VideoStream", stream)
        self._stream.pix_fmt = pixel_format
        self._stream.codec_context.time_base = MILLISECOND
        self._stream.time_base = MILLISECOND
        self._last_ms = -1
        self.frames = 0

    @property
    def last_ms(self) -> int:
        """Time of the last frame, in milliseconds."""
        return self._last_ms

    def add(self, seen: Seen, milliseconds: int) -> None:
        """Add a frame. Times ascend: one that does not is the next millisecond."""
        frame = av.VideoFrame.from_ndarray(draw(seen), format="bgra")
        if not self.frames:
            self._stream.width, self._stream.height = fit(frame, SIDE_MAX, SIDE_MAX, enlarge=False)
        frame = self._fit(frame)
        if self._stream.pix_fmt != "yuv420p":
            frame = frame.reformat(format=self._stream.pix_fmt)
        self._last_ms = max(milliseconds, self._last_ms + 1)
        frame.pts, frame.time_base = self._last_ms, MILLISECOND
        self._file.mux(self._stream.encode(frame))
        self.frames += 1

    def close(self) -> None:
        """Finish the file. One without a frame is not readable."""
        try:
            if self.frames:
                self._file.mux(self._stream.encode(None))
        finally:
            self._file.close()

    def _fit(self, frame: av.VideoFrame) -> av.VideoFrame:
        """Return a frame of the file's size: scaled, with black bars."""
        width, height = self._stream.width, self._stream.height
        if (frame.width, frame.height) == (width, height):
            return frame
        columns, rows = fit(frame, width, height)
        scaled = frame.reformat(width=columns, height=rows, format="bgra").to_ndarray()
        canvas = black(width, height)
        x, y = (width - columns) // 2, (height - rows) // 2
        canvas[y : y + rows, x : x + columns] = scaled
        return av.VideoFrame.from_ndarray(canvas, format="bgra")


def fit(frame: av.VideoFrame, width: int, height: int, *, enlarge: bool = True) -> tuple[int, int]:
    """Return the largest size of a frame's form that fits into another one."""
    scale = min(width / frame.width, height / frame.height)
    if not enlarge:
        scale = min(scale, 1.0)
    return max(1, round(frame.width * scale)), max(1, round(frame.height * scale))


def black(width: int, height: int) -> Pixel:
    """Return a black picture."""
    picture: Pixel = np.zeros((height, width, PIXEL_BYTES), np.uint8)
    picture[:, :, 3] = 255
    return picture


def draw(seen: Seen) -> Pixel:
    """Return rows of pixels (blue, green, red, 255), with the cursor in them."""
    pixels = seen.pixels
    shape = (pixels.height, pixels.width, PIXEL_BYTES)
    rows = np.frombuffer(pixels.data, np.uint8).reshape(shape)
    cursor = seen.cursor
    if cursor is None or not cursor.visible or not cursor.image:
        return rows
    rows = rows.copy()
    draw_cursor(rows, cursor)
    return rows


def draw_cursor(rows: Pixel, cursor: Cursor) -> None:
    """Draw the part of a cursor that is inside of a picture."""
    height, width = rows.shape[:2]
    left, top = max(cursor.x, 0), max(cursor.y, 0)
    right, bottom = min(cursor.x + CURSOR_SIDE, width), min(cursor.y + CURSOR_SIDE, height)
    if left >= right or top >= bottom:
        return
    shape = (CURSOR_SIDE, CURSOR_SIDE, PIXEL_BYTES)
    image = np.frombuffer(cursor.image, np.uint8).reshape(shape)
    part = image[top - cursor.y : bottom - cursor.y, left - cursor.x : right - cursor.x]
    alpha = part[:, :, 3:].astype(np.uint16)
    under: NDArray[Any] = rows[top:bottom, left:right, :3]
    under[:] = (part[:, :, :3] * alpha + under * (255 - alpha) + 127) // 255
