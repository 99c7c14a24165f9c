"""Pixels in guest memory that a driver draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from virtmesh_common.gpu.spec import PIXEL

if TYPE_CHECKING:
    from mmap import mmap

    from virtmesh.attach.guest_ram import Ram


class Framebuffer:
    """Pages of guest RAM, mapped by themselves: `view` has the pixels, row by row.

    Whoever draws may have slices of `view` after it was dropped. Its pages are used for nothing
    else until the last of them is gone, so what is written to them is seen by nobody.
    Errors: MemoryError.
    """

    def __init__(self, ram: Ram, width: int, height: int) -> None:
        self.width = width
        self.height = height
        self._ram = ram
        self.address = ram.pages.allocate(self.size)
        try:
            self._map: mmap = ram.map(self.address, self.size)
        except OSError as error:
            ram.pages.release(self.address)
            raise MemoryError(f"a framebuffer can't be mapped: {error}") from error
        self.view = memoryview(self._map)

    @property
    def size(self) -> int:
        """Bytes of the pixels."""
        return self.width * self.height * PIXEL

    def drop(self) -> bool:
        """Give the pages back, unless a slice of the pixels is in use: call it later again then."""
        if not self.unmap():
            return False
        self._ram.pages.release(self.address)
        return True

    def unmap(self) -> bool:
        """End the view. False while a slice is in use: it stays mapped for as long as that."""
        self.view.release()
        try:
            self._map.close()
        except BufferError:
            return False
        return True

    def copy_from(self, pixels: memoryview, width: int, height: int) -> None:
        """Copy what fits of a picture of another size."""
        row, mine = width * PIXEL, self.width * PIXEL
        fit = min(row, mine)
        for y in range(min(height, self.height)):
            self.view[y * mine : y * mine + fit] = pixels[y * row : y * row + fit]


@dataclass(frozen=True)
class Pointer:
    """A cursor that a driver shows."""

    image: bytes
    x: int
    y: int
    hot_x: int
    hot_y: int


@dataclass(frozen=True)
class Drawn:
    """What was drawn on a GPU that was lost: for the next process of the same device."""

    framebuffer: Framebuffer
    pointer: Pointer | None
