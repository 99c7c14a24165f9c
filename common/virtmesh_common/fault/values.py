"""The values of faults on demand in words. Readers raise ValueError for what they can't read."""

from __future__ import annotations

import re
from dataclasses import dataclass

from virtmesh_common.fault.words import REQUEST_TYPES

NUMBER_MAX = (1 << 64) - 1
QUEUE_MAX = 63
"""Highest index of a queue."""
UNITS_US = {"us": 1, "ms": 1000, "s": 1_000_000}
DELAY_MAX_US = 600_000_000
"""Longest delay: 10 minutes."""
EXPONENTIAL = "exp:"
"""Begins an exponential delay."""


@dataclass(frozen=True)
class Delay:
    """How long, in microseconds: from `low` to `high`; or exponential, with `mean`."""

    low: int = 0
    high: int = 0
    mean: int = 0

    def __post_init__(self) -> None:
        """Check the times. Errors: ValueError."""
        if self.mean and (self.low or self.high):
            raise ValueError("a delay has a range or a mean, not both")
        if self.high < self.low:
            raise ValueError("the longest delay is below the shortest")
        if not 0 < max(self.high, self.mean) <= DELAY_MAX_US:
            raise ValueError("a delay is above 0, and at most 10 minutes")

    def __str__(self) -> str:
        if self.mean:
            return EXPONENTIAL + spell_time(self.mean)
        low, high = spell_time(self.low), spell_time(self.high)
        return low if low == high else f"{low}-{high}"


def spell_time(micros: int) -> str:
    """Spell a time in the largest unit that it is a whole number of."""
    unit = next(one for one, size in reversed(UNITS_US.items()) if not micros % size)
    return f"{micros // UNITS_US[unit]}{unit}"


def read_time(text: str) -> int:
    """Read a time such as 20us, 1.5ms or 2s; return microseconds."""
    match = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)(us|ms|s)", text)
    if match is None:
        raise ValueError(f"{text!r} is no time: write 20us, 1.5ms or 2s")
    return round(float(match[1]) * UNITS_US[match[2]])


def read_delay(text: str) -> Delay:
    """Read a delay: 5ms, 1ms-20ms or exp:5ms."""
    if text.startswith(EXPONENTIAL):
        return Delay(mean=read_time(text.removeprefix(EXPONENTIAL)))
    low, _, high = text.partition("-")
    return Delay(read_time(low), read_time(high or low))


def read_count(text: str, most: int = NUMBER_MAX, least: int = 0) -> int:
    """Read a number, 0x for hexadecimal."""
    if not re.fullmatch(r"[0-9]{1,20}|0x[0-9a-fA-F]{1,16}", text):
        raise ValueError(f"{text!r} is no number")
    number = int(text, 16 if text.startswith("0x") else 10)
    if not least <= number <= most:
        raise ValueError(f"{number} is not from {least} to {most}")
    return number


def read_queue(text: str) -> int:
    """Read the index of a queue."""
    return read_count(text, QUEUE_MAX)


def read_turn(text: str) -> int:
    """Read a number from 1 on."""
    return read_count(text, least=1)


def read_range(text: str) -> tuple[int, int]:
    """Read FIRST-LAST, or one number."""
    first, _, last = text.partition("-")
    found = read_count(first), read_count(last or first)
    if found[1] < found[0]:
        raise ValueError(f"{text}: the last is before the first")
    return found


def read_chance(text: str) -> float:
    """Read a probability, above 0 and at most 1."""
    if not re.fullmatch(r"[0-9]{1,20}(\.[0-9]{1,20})?(e-[0-9]{1,3})?", text):
        raise ValueError(f"{text!r} is no probability: write 0.25, say")
    chance = float(text)
    if not 0 < chance <= 1:
        raise ValueError(f"{text} is not above 0 and at most 1")
    return chance


def read_types(text: str) -> tuple[str, ...]:
    """Read types of requests, parted by commas."""
    words = tuple(dict.fromkeys(text.split(",")))
    for word in words:
        if word not in REQUEST_TYPES:
            raise ValueError(f"{word!r} is no type: choose among {', '.join(REQUEST_TYPES)}")
    return words


def spell(value: object) -> str:
    """Spell a value of a field."""
    if isinstance(value, tuple):
        if value and isinstance(value[0], int):
            first, last = value
            return str(first) if first == last else f"{first}-{last}"
        return ",".join(map(str, value))
    return str(value)
