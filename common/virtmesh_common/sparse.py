"""Files that are written in order, with holes where they are zero."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

HOLE_BYTES = 4096
"""Unit of holes. It is the block size of most file systems."""
ZEROES = bytes(HOLE_BYTES)


def data_runs(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield the ranges (start, end) of blocks of HOLE_BYTES that are not all zero."""
    begin: int | None = None
    for start in range(0, len(data), HOLE_BYTES):
        block = data[start : start + HOLE_BYTES]
        if block == ZEROES[: len(block)]:
            if begin is not None:
                yield begin, start
                begin = None
        elif begin is None:
            begin = start
    if begin is not None:
        yield begin, len(data)


def write_all(descriptor: int, view: memoryview, position: int) -> None:
    """Write all bytes of a view at a position. Errors: OSError."""
    while view:
        count = os.pwrite(descriptor, view, position)
        view, position = view[count:], position + count
