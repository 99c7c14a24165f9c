"""The memory through which a file is copied: pieces of the guest memory of the disk's driver.

What a file is read into lies there already when the device is to write it, so nothing is copied in
between. A mapping of its own keeps the bytes when the device dies and its guest memory goes: what
the device had begins again from here, copied to the memory of the next driver.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from typing import TYPE_CHECKING

from virtmesh.blk.request import Place

if TYPE_CHECKING:
    from collections.abc import Callable

    from virtmesh.attach.guest_ram import Ram


@dataclass(frozen=True)
class Piece:
    """A part of a window: its bytes, and where they lie in guest memory; None: they do not."""

    view: memoryview
    place: Place | None

    def cut(self, size: int) -> memoryview:
        """Return the first bytes."""
        return self.view[:size]


class Window:
    """`count` pieces of `size` bytes, whole pages each. Where guest memory has no room, outside.

    Whoever lets a device use it says so by `hold`, for as long as the device may.
    """

    def __init__(self, ram: Ram | None, count: int, size: int) -> None:
        self._ram = ram
        self._address: int | None = None
        self._users = 1
        """The owner, and those that hold it."""
        length = count * size
        memory = None
        if ram is not None:
            try:
                self._address = ram.pages.allocate(length)
                memory = ram.map(self._address, length)
            except (MemoryError, OSError):
                self._free()
        # It is unmapped with the last view of it, which an error may keep for a while.
        whole = memoryview(memory if memory is not None else mmap.mmap(-1, length))
        self.pieces = [
            Piece(whole[start : start + size], self._place(start))
            for start in range(0, length, size)
        ]

    def hold(self) -> Callable[[object], None]:
        """Keep the window; return what lets go of it, whatever that is called with."""
        self._users += 1
        return self._let_go

    def close(self) -> None:
        """Let go of the window: its guest memory is free when nobody holds it any more."""
        self.pieces.clear()
        self._let_go()

    def _let_go(self, _: object = None) -> None:
        self._users -= 1
        if not self._users:
            self._free()

    def _place(self, start: int) -> Place | None:
        if self._ram is None or self._address is None:
            return None
        return Place(self._ram, self._address + start)

    def _free(self) -> None:
        """Give guest memory back."""
        if self._ram is not None and self._address is not None:
            self._ram.pages.release(self._address)
        self._address = None
