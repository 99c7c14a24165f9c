"""Sizes as people write them, and those that RAM can have."""

from __future__ import annotations

import re

MEMORY_MIN = 1 << 20
"""Least RAM, in bytes."""
MEMORY_MAX = 1 << 36
"""Most RAM, in bytes."""
CHUNK_LIMIT_BYTES = 1 << 20
"""Largest piece of data in one message of a stream."""
PAGE = 4096
"""RAM is made of whole pages of so many bytes."""


def parse_size(text: str | int) -> int:
    """Return the bytes that "64M", "1GiB", "0x1000" or a number stand for.

    K, M, G and T are powers of 1024, with or without "iB". Errors: ValueError, with the mend.
    """
    if isinstance(text, bool):
        raise ValueError(f"{text!r} is no size: write 64M, 1GiB or a number of bytes")  # noqa: TRY004 - one error for every bad size
    if isinstance(text, int):
        if text < 0:
            raise ValueError(f"{text} is no size: a size is not negative")
        return text
    written = re.fullmatch(
        r"(0x[0-9a-f]+)|([0-9]+) *(?:([kmgt])?(?:i?b)?)", text.strip(), re.IGNORECASE | re.ASCII
    )
    if written is None:
        raise ValueError(f"{text!r} is no size: write 64M, 1GiB or a number of bytes")
    hexadecimal, decimal, unit = written.groups()
    if hexadecimal:
        return int(hexadecimal, 16)
    return int(decimal) << (10 * " KMGT".index(unit.upper()) if unit else 0)


def check_memory(size: int) -> int:
    """Return a size that RAM can have, in bytes. Errors: ValueError, with the mend."""
    if size % PAGE or not MEMORY_MIN <= size <= MEMORY_MAX:
        raise ValueError(f"{size} bytes of RAM: choose a multiple of 4K from 1M to 64G")
    return size
