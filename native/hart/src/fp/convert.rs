//! Conversions between formats, and to and from integers.

use super::number::{Finite, Value};
use super::round::{drop_bits, low_half, pack};
use super::{Flags, Format, NV, NX, Rounding};

/// Convert between formats (FCVT.S.D, FCVT.D.S).
#[must_use]
pub const fn convert(from: Format, to: Format, a: u64, rm: Rounding) -> (u64, Flags) {
    match Value::unpack(from, a) {
        Value::Nan { signalling } => (to.nan(), if signalling { NV } else { 0 }),
        Value::Infinity { negative } => (to.sign(negative) | to.infinity(), 0),
        Value::Finite(number) if number.is_zero() => (to.sign(number.negative), 0),
        Value::Finite(number) => pack(to, number, rm),
    }
}

/// Convert to an integer of `bits` (32 or 64) bits (FCVT.W, .WU, .L, .LU).
///
/// The result is what the register holds: sign-extended from `bits`, of unsigned integers too. NaN
/// and what is out of range after rounding give the nearest bound (NaN the upper one) and NV alone.
#[must_use]
pub const fn to_int(format: Format, a: u64, rm: Rounding, signed: bool, bits: u32) -> (u64, Flags) {
    let (negative, magnitude, inexact) = match Value::unpack(format, a) {
        Value::Nan { .. } => (false, u128::MAX, false),
        Value::Infinity { negative } => (negative, u128::MAX, false),
        Value::Finite(Finite {
            negative,
            exponent,
            significand,
        }) if exponent < 0 => {
            let (magnitude, inexact) =
                drop_bits(significand, exponent.unsigned_abs(), negative, rm);
            (negative, magnitude, inexact)
        }
        // A normal number, of 24 bits or more: 2^64 and above.
        Value::Finite(Finite {
            negative, exponent, ..
        }) if exponent > 64 => (negative, u128::MAX, false),
        Value::Finite(Finite {
            negative,
            exponent,
            significand,
        }) => (negative, significand << exponent, false),
    };
    let bound = match (signed, negative) {
        (true, true) => 1 << (bits - 1),
        (true, false) => (1 << (bits - 1)) - 1,
        (false, true) => 0,
        (false, false) => (1 << bits) - 1,
    };
    let (magnitude, flags) = if magnitude > bound {
        (low_half(bound), NV)
    } else {
        (low_half(magnitude), if inexact { NX } else { 0 })
    };
    (
        sign_extend(
            if negative {
                magnitude.wrapping_neg()
            } else {
                magnitude
            },
            bits,
        ),
        flags,
    )
}

/// Convert from an integer, the low `bits` (32 or 64) bits of `value` (FCVT.S.W and its kin).
#[must_use]
pub const fn from_int(
    format: Format,
    value: u64,
    signed: bool,
    bits: u32,
    rm: Rounding,
) -> (u64, Flags) {
    let extended = sign_extend(value, bits).cast_signed();
    let negative = signed && extended < 0;
    let magnitude = if negative {
        extended.unsigned_abs()
    } else {
        value & (u64::MAX >> (64 - bits))
    };
    if magnitude == 0 {
        return (0, 0);
    }
    pack(
        format,
        Finite {
            negative,
            exponent: 0,
            significand: magnitude as u128,
        },
        rm,
    )
}

const fn sign_extend(value: u64, bits: u32) -> u64 {
    let shift = 64 - bits;
    ((value << shift).cast_signed() >> shift).cast_unsigned()
}
