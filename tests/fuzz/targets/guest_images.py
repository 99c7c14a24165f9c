"""Images for a CPU: ELF files and Linux images."""

from __future__ import annotations

import struct
from contextlib import suppress

from tests.fuzz.target import stateless
from virtmesh.cpu.images.elf import is_elf, parse_elf
from virtmesh.cpu.images.linux_image import HEADER, MAGIC2, parse_linux_image
from virtmesh_common.cpu.errors import BadImage


def run(data: bytes) -> None:
    """Parse a file as both."""
    with suppress(BadImage):
        parse_linux_image(data, "fuzz")
    with suppress(BadImage):
        if is_elf(data):
            for segment in parse_elf(data, "fuzz").segments:
                assert len(segment.data) <= len(data)


def seeds() -> list[bytes]:
    """Return a small program of each format."""
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = struct.pack("<HHIQQQIHHHHHH", 2, 243, 1, 0x8000_0000, 64, 120, 0, 64, 56, 1, 64, 2, 0)
    program = struct.pack("<IIQQQQQQ", 1, 5, 248, 0x8000_0000, 0x8000_0000, 8, 16, 4096)
    sections = bytes(64) + struct.pack("<IIQQQQIIQQ", 0, 2, 0, 0, 248, 24, 0, 0, 8, 24)
    elf = ident + header + program + sections + bytes(24)
    image = HEADER.pack(0x6F, 0, 0x20_0000, 64, 0, 2, 0, 0, 0, MAGIC2, 0)
    return [elf, image]


TARGET = stateless(run, seeds)
