"""The header of a Linux kernel image for RISC-V.

https://docs.kernel.org/arch/riscv/boot-image-header.html
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from virtmesh_common.cpu.errors import BadImage

HEADER = struct.Struct("<IIQQQIIQQII")
"""struct riscv_image_header: code0, code1, text_offset, image_size, flags, version, res1, res2,
magic, magic2, res3."""
MAGIC2 = int.from_bytes(b"RSC\x05", "little")
"""magic2 of the header."""
FLAG_BIG_ENDIAN = 1
"""Bit 0 of flags."""
TEXT_OFFSET = 0x20_0000
"""Offset from the start of RAM in every kernel of 64 bits so far: a huge page is left to the
firmware."""


@dataclass(frozen=True)
class LinuxImage:
    """What the header says. Sizes in bytes."""

    text_offset: int
    """Where the image wants to be, from the start of RAM."""
    image_size: int
    """What it needs from its first byte on, with what is not in the file."""


def parse_linux_image(content: bytes, source: str) -> LinuxImage | None:
    """Return the header of a Linux image; None for any other file. Errors: BadImage."""
    if len(content) < HEADER.size:
        return None
    *_, text_offset, image_size, flags, _version, _1, _2, _magic, magic2, _3 = HEADER.unpack_from(
        content
    )
    if magic2 != MAGIC2:
        return None
    if flags & FLAG_BIG_ENDIAN:
        raise BadImage(f"{source}: the Linux image is big-endian: the CPU is little-endian")
    return LinuxImage(text_offset, max(image_size, len(content)))
