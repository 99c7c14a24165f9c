"""Where a needle is on a screen. This module needs the extra `vision`.

OpenCV's sum of squared differences, for every place, by Fourier transforms: fast, and a little
wrong. The best few places are therefore compared again, exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import cv2
import numpy as np

from virtmesh_client.screen.needle import COLOURS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from virtmesh_client.screen.models import Pixels, Rectangle
    from virtmesh_client.screen.needle import Needle, Pixel

NOISE = 1e-5
"""How wrong a sum of OpenCV may be, as a part of the largest one that there can be."""
COMPARED_MAX = 64
"""Most places that are compared again."""
COMPARED_PIXELS_MAX = 4 << 20
"""Most pixels that are compared again: large needles have fewer places."""
PLACES_MIN = 4


@dataclass(frozen=True)
class Place:
    """Where a needle fits best."""

    x: int
    y: int
    score: float
    """As in `Match`."""


def to_array(picture: Pixels) -> Pixel:
    """Return rows of pixels: blue, green, red."""
    shape = (picture.height, picture.width, COLOURS + 1)
    rows = np.frombuffer(picture.data, np.uint8).reshape(shape)
    return cast("Pixel", cv2.cvtColor(rows, cv2.COLOR_BGRA2BGR))


def places_for(needle: Needle, within: Rectangle, changed: Rectangle) -> Rectangle | None:
    """Return where the top left corner of a needle can be: columns and rows; None if nowhere.

    The needle is inside of `within`, and touches `changed`.
    """
    (width, height), (x, y, columns, rows) = needle.size, within
    left = max(x, changed[0] - width + 1)
    top = max(y, changed[1] - height + 1)
    right = min(x + columns - width + 1, changed[0] + changed[2])
    bottom = min(y + rows - height + 1, changed[1] + changed[3])
    return (left, top, right - left, bottom - top) if left < right and top < bottom else None


def search(screen: Pixel, needle: Needle, places: Rectangle) -> Place:
    """Return the best place of a needle among some."""
    x, y, columns, rows = places
    width, height = needle.size
    part = screen[y : y + rows + height - 1, x : x + columns + width - 1]
    sums = cv2.matchTemplate(part, needle.pixels, cv2.TM_SQDIFF, mask=needle.mask).ravel()
    compared = []
    for index in candidates(cast("NDArray[np.float32]", sums), needle):
        row, column = divmod(int(index), columns)
        error = difference(part[row : row + height, column : column + width], needle)
        compared.append((error, row, column))
    error, row, column = min(compared)
    return Place(x + column, y + row, 1 - error)


def candidates(sums: NDArray[np.float32], needle: Needle) -> NDArray[np.intp]:
    """Return the places whose sums may be the least one."""
    largest = needle.compared * COLOURS * 255.0**2
    most = min(COMPARED_MAX, max(PLACES_MIN, COMPARED_PIXELS_MAX // needle.compared), sums.size)
    near = np.flatnonzero(sums <= float(sums.min()) + largest * NOISE)
    if near.size > most:
        near = near[np.argsort(sums[near], kind="stable")[:most]]
    return near


def difference(part: Pixel, needle: Needle) -> float:
    """Return the root of the mean square of the differences, from 0 to 1."""
    squares = (part.astype(np.int32) - needle.pixels) ** 2
    if needle.mask is not None:
        squares *= needle.mask[:, :, np.newaxis]
    return float(np.sqrt(squares.sum(dtype=np.int64) / (needle.compared * COLOURS)) / 255)
