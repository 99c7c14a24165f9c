"""The words of faults on demand, and the values behind them."""

from __future__ import annotations

import math
import re

KINDS = {
    "io-error": 1,
}
"""Numbers of the kinds by their words: `io-error` is FAULT_KIND_IO_ERROR (virtmesh.fault.v1)."""
KIND_WORDS = {number: word for word, number in KINDS.items()}
REQUEST_TYPES = {
    "read": 0,
    "write": 1,
    "flush": 4,
    "get-id": 8,
    "discard": 11,
    "write-zeroes": 13,
}
"""Numbers of the requests to a disk by their words (virtio 1.4, 5.2.6)."""
TYPE_WORDS = {number: word for word, number in REQUEST_TYPES.items()}
NUMBER_MAX = (1 << 64) - 1


def read_count(text: str, most: int = NUMBER_MAX, least: int = 0) -> int:
    """Read a number, 0x for hexadecimal. Errors: ValueError."""
    if not re.fullmatch(r"[0-9]{1,20}|0x[0-9a-fA-F]{1,16}", text):
        raise ValueError(f"{text!r} is no number")
    number = int(text, 16 if text.startswith("0x") else 10)
    if not least <= number <= most:
        raise ValueError(f"{number} is not from {least} to {most}")
    return number


def read_range(text: str) -> tuple[int, int]:
    """Read FIRST-LAST, or one number. Errors: ValueError."""
    first, _, last = text.partition("-")
    found = read_count(first), read_count(last or first)
    if found[1] < found[0]:
        raise ValueError(f"{text}: the last is before the first")
    return found


def read_chance(text: str) -> float:
    """Read a probability, above 0 and at most 1. Errors: ValueError."""
    if not re.fullmatch(r"[0-9]{1,20}(\.[0-9]{1,20})?(e-[0-9]{1,3})?", text):
        raise ValueError(f"{text!r} is no probability: write 0.25, say")
    chance = float(text)
    if not (math.isfinite(chance) and 0 < chance <= 1):
        raise ValueError(f"{text} is not above 0 and at most 1")
    return chance
