"""The pointer: where mice and tablets have moved it, and its picture on a GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from virtmesh_common.evdev import CODES, TYPES
from virtmesh_common.gpu.spec import CURSOR_SIDE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from virtmesh.gpu.gpu_device import GpuDevice
    from virtmesh.input.info import AbsInfo

EV_REL, EV_ABS = TYPES["EV_REL"], TYPES["EV_ABS"]
RELATIVE = (CODES["EV_REL"]["REL_X"], CODES["EV_REL"]["REL_Y"])
ABSOLUTE = (CODES["EV_ABS"]["ABS_X"], CODES["EV_ABS"]["ABS_Y"])
ARROW = """
#
##
#.#
#..#
#...#
#....#
#.....#
#......#
#.......#
#........#
#.........#
#......####
#...#..#
#..##...#
#.#  #..#
##   #...#
#     #..#
       ##
""".strip("\n")
"""The picture: black (#), white (.) and nothing. It points with its top left corner."""
COLOURS = {"#": b"\0\0\0\xff", ".": b"\xff\xff\xff\xff", " ": b"\0\0\0\0"}


def arrow_image() -> bytes:
    """Return the picture as pixels of a cursor: blue, green, red, alpha."""
    rows = [row.ljust(CURSOR_SIDE) for row in ARROW.split("\n")]
    rows += [" " * CURSOR_SIDE] * (CURSOR_SIDE - len(rows))
    return b"".join(COLOURS[one] for row in rows for one in row)


class Pointer:
    """A place on the screen, which appears with the first device that points."""

    def __init__(self) -> None:
        self.position: tuple[int, int] | None = None
        """In pixels; None while nothing points."""
        self._size = (0, 0)
        self._shown: tuple[int, int] | None = None
        self._image = arrow_image()

    def appear(self) -> None:
        """Show it, in the middle of the screen."""
        if self.position is None:
            self.position = self._size[0] // 2, self._size[1] // 2

    def take(self, kind: int, code: int, value: int, axes: Mapping[int, AbsInfo]) -> None:
        """Take an event. `axes` are those of its device, by code."""
        if self.position is None:
            return
        place = list(self.position)
        if kind == EV_REL and code in RELATIVE:
            axis = RELATIVE.index(code)
            place[axis] += value
        elif kind == EV_ABS and code in ABSOLUTE and code in axes:
            axis = ABSOLUTE.index(code)
            place[axis] = scale(value, axes[code], self._size[axis])
        self.position = self._inside(*place)

    def forget(self) -> None:
        """Show it anew next time."""
        self._shown = None

    def fit(self, size: tuple[int, int]) -> None:
        """Keep it on a screen of this size."""
        if size != self._size and self.position is not None:
            x, y = self.position
            before = self._size
            # Nobody has moved it yet where there was no screen.
            self.position = (x, y) if all(before) else (size[0] // 2, size[1] // 2)
        self._size = size
        if self.position is not None:
            self.position = self._inside(*self.position)

    async def place(self, gpu: GpuDevice) -> None:
        """Show it where it is. Errors: those of the cursor's methods of `GpuDevice`."""
        at = self.position
        if at is None or at == self._shown:
            return
        if self._shown is None:
            await gpu.update_cursor(self._image, *at)
        else:
            await gpu.move_cursor(*at)
        self._shown = at

    def _inside(self, x: int, y: int) -> tuple[int, int]:
        """Return the nearest place on the screen."""
        width, height = self._size
        return min(max(x, 0), max(width - 1, 0)), min(max(y, 0), max(height - 1, 0))


def scale(value: int, axis: AbsInfo, pixels: int) -> int:
    """Return the pixel of a place on an axis, from its minimum (0) to its maximum (the last)."""
    span = axis.maximum - axis.minimum
    if span <= 0:
        return 0
    return ((value - axis.minimum) * (pixels - 1) + span // 2) // span
