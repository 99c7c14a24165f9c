"""Operands, mostly at the edges."""

from __future__ import annotations

from random import Random

ALL = (1 << 64) - 1
BOX = 0xFFFF_FFFF_0000_0000

SPECIAL = (
    *(sign << 63 | magnitude << 48 for sign in (0, 1) for magnitude in (0, 0x7FF0, 0x7FF8)),
    *(BOX | sign << 31 | magnitude << 16 for sign in (0, 1) for magnitude in (0, 0x7F80, 0x7FC0)),
    *(0x7FF0_0000_0000_0001, BOX | 0x7F80_0001),
)
"""Zeros, infinities, quiet and signalling NaN, of both formats."""


def integer(rng: Random) -> int:
    """Return a 64-bit word: near a power of two, sign-extended, or any."""
    kind = rng.randrange(5)
    if kind == 0:
        value = (1 << rng.randrange(64)) + rng.randint(-2, 2)
        value = rng.choice((value, -value))
    elif kind == 1:
        value = rng.randint(-3, 3)
    elif kind == 2:
        value = rng.choice((-(1 << 63), -(1 << 31), (1 << 63) - 1, (1 << 31) - 1, (1 << 32) - 1))
    else:
        value = rng.getrandbits(64) >> rng.randrange(64)
    return value & ALL


def real(rng: Random, fraction_bits: int, exponent_bits: int) -> int:
    """Return a float, as an integer: special, near 1, near the bounds, or any."""
    last = (1 << exponent_bits) - 1
    middle = last >> 1
    near = rng.choice((middle, middle, middle - fraction_bits, middle + fraction_bits, middle // 2))
    exponent = rng.choice(
        (
            rng.randint(0, 2),
            rng.randint(last - 2, last),
            near + rng.randint(-3, 3),
            near + rng.randint(-3, 3),
            middle + rng.randint(0, 66),
            rng.randint(0, last),
        )
    )
    ones = (1 << fraction_bits) - 1
    bit = 1 << rng.randrange(fraction_bits)
    fraction = rng.choice(
        (0, 0, bit, ones ^ bit, ones, ones & -bit, bit - 1, bit | 1, rng.getrandbits(fraction_bits))
    )
    sign = rng.getrandbits(1)
    exponent = min(max(exponent, 0), last)
    return (sign << exponent_bits | exponent) << fraction_bits | fraction


def double(rng: Random) -> int:
    """Return the bits of a double."""
    return real(rng, 52, 11)


def boxed_single(rng: Random) -> int:
    """Return a single in its NaN box; now and then with a broken box."""
    bits = real(rng, 23, 8)
    if rng.random() < 0.05:
        return bits | (BOX ^ (1 << rng.randrange(32, 64)))
    return BOX | bits


def word(rng: Random) -> int:
    """Return a register of either kind."""
    return rng.choice((integer, integer, double, boxed_single))(rng)


def float_word(rng: Random) -> int:
    """Return a floating-point register."""
    return rng.choice((double, boxed_single))(rng)
