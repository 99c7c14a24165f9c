"""Reading image files: at most as much as RAM can take, unpacked where that is the custom."""

from __future__ import annotations

import os
import stat
import zlib
from typing import TYPE_CHECKING

from virtmesh_common.cpu.errors import BadImage

if TYPE_CHECKING:
    from pathlib import Path

GZIP_MAGIC = b"\x1f\x8b"
DEBUG_FACTOR = 16
"""An ELF file may be so many times as large as RAM: most of it is for debuggers."""
WINDOW_BITS_GZIP = 31
"""Makes zlib read the format of gzip."""


def read_image(path: Path, limit: int, *, unpack: bool = False) -> bytes:
    """Return the content of a file of at most `limit` bytes, unpacked if it is one of gzip.

    Errors: BadImage.
    """
    try:
        # A pipe must not make this wait for somebody who writes to it.
        with open(
            path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)
        ) as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode):
                raise BadImage(f"{path}: it is no ordinary file")
            # `read` makes room for all that it is asked for: `limit` may be beyond all memory.
            content = file.read(min(limit, about.st_size) + 1)
    except OSError as error:
        raise BadImage(f"{path}: can't be read: {error.strerror}") from error
    if not content:
        raise BadImage(f"{path}: the file is empty")
    if unpack and content.startswith(GZIP_MAGIC):
        content = _unpack(content, path, limit)
    if len(content) > limit:
        raise BadImage(f"{path}: it is larger than {limit >> 20} MiB: give the machine more memory")
    return content


def _unpack(content: bytes, path: Path, limit: int) -> bytes:
    """Unpack gzip, `limit` + 1 bytes at most. Errors: BadImage."""
    unpacker = zlib.decompressobj(WINDOW_BITS_GZIP)
    try:
        unpacked = unpacker.decompress(content, limit + 1)
    except zlib.error as error:
        raise BadImage(f"{path}: the gzip file is damaged: {error}") from error
    if not unpacker.eof and len(unpacked) <= limit:
        raise BadImage(f"{path}: the gzip file ends too early")
    return unpacked
