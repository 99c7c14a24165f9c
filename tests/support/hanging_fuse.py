"""An image whose storage answers some reads and hangs in others: a FUSE server for tests."""

from __future__ import annotations

import struct
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.support.frozen_fuse import OPEN, READ, REQUEST, FrozenFuse, answer, send

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

READ_IN = struct.Struct("<QQI")
"""The beginning of struct fuse_read_in: handle, offset, size."""
DIRECT = struct.pack("<Q2I", 1, 1, 0)
"""Answer to an open: FOPEN_DIRECT_IO, so that reads come as they are made."""


class HangingFuse(FrozenFuse):
    """A mounted file system. Reads of its file that begin in a range wait until `let_go`."""

    def __init__(self, folder: Path, hanging: range) -> None:
        self._hanging = hanging
        self._lock = threading.Lock()
        self._waiting: list[tuple[int, int, int]] = []
        """Number of the request, offset, size."""
        self._is_back = False
        super().__init__(folder)

    @property
    def file(self) -> Path:
        """Path of the image."""
        return self.folder / "file"

    @property
    def waiting(self) -> int:
        """Reads that hang."""
        return len(self._waiting)

    def let_go(self) -> None:
        """Answer what hangs, and all that comes."""
        with self._lock:
            self._is_back = True
            for unique, offset, size in self._waiting:
                send(self._device, unique, content(offset, size))
            self._waiting.clear()

    def handle(self, device: int, request: bytes) -> None:
        """Answer a request, unless it hangs."""
        _, code, unique, node, *_ = REQUEST.unpack_from(request)
        if code == OPEN:
            send(device, unique, DIRECT)
        elif code == READ:
            _, offset, size = READ_IN.unpack_from(request, REQUEST.size)
            with self._lock:
                if offset in self._hanging and not self._is_back:
                    self._waiting.append((unique, offset, size))
                else:
                    send(device, unique, content(offset, size))
        else:
            send(device, unique, answer(code, node))


def content(offset: int, size: int) -> bytes:
    """Return what the image has there: each 8 bytes where they are."""
    places = range(offset // 8 * 8, offset + size, 8)
    data = b"".join(struct.pack("<Q", place) for place in places)
    return data[offset % 8 :][:size]


@contextmanager
def hanging_fuse(folder: Path, hanging: range) -> Iterator[HangingFuse]:
    """Mount one; at the end nothing waits for it any more."""
    folder.mkdir()
    mounted = HangingFuse(folder, hanging)
    try:
        yield mounted
    finally:
        mounted.let_go()
        mounted.thaw()
