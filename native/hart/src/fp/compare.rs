//! Comparisons, minimum and maximum, classification.

use super::number::Value;
use super::{Flags, Format, NV};

/// FEQ, a quiet comparison: only a signalling NaN is invalid. NaN equals nothing.
#[must_use]
pub const fn eq(format: Format, a: u64, b: u64) -> (bool, Flags) {
    let (x, y) = (Value::unpack(format, a), Value::unpack(format, b));
    if x.is_nan() || y.is_nan() {
        return (false, x.signals() | y.signals());
    }
    (order(format, a) == order(format, b), 0)
}

/// FLT, a signalling comparison: any NaN is invalid, and the answer is false.
#[must_use]
pub const fn lt(format: Format, a: u64, b: u64) -> (bool, Flags) {
    if is_nan(format, a) || is_nan(format, b) {
        return (false, NV);
    }
    (order(format, a) < order(format, b), 0)
}

/// FLE, a signalling comparison: any NaN is invalid, and the answer is false.
#[must_use]
pub const fn le(format: Format, a: u64, b: u64) -> (bool, Flags) {
    if is_nan(format, a) || is_nan(format, b) {
        return (false, NV);
    }
    (order(format, a) <= order(format, b), 0)
}

/// FMIN of F 2.2 (minimumNumber): the number beside a NaN; -0 is less than +0.
#[must_use]
pub const fn min(format: Format, a: u64, b: u64) -> (u64, Flags) {
    select(format, a, b, false)
}

/// FMAX of F 2.2 (maximumNumber): the number beside a NaN; +0 is more than -0.
#[must_use]
pub const fn max(format: Format, a: u64, b: u64) -> (u64, Flags) {
    select(format, a, b, true)
}

/// FCLASS: one bit of ten.
///
/// From bit 0: -infinity, negative normal, negative subnormal, -0, +0, positive subnormal, positive
/// normal, +infinity, signalling NaN, quiet NaN.
#[must_use]
pub const fn classify(format: Format, a: u64) -> u64 {
    let bit = match Value::unpack(format, a) {
        Value::Nan { signalling: true } => return 1 << 8,
        Value::Nan { signalling: false } => return 1 << 9,
        Value::Infinity { .. } => 7,
        Value::Finite(number) if number.is_zero() => 4,
        Value::Finite(number) if number.significand >> format.fraction_bits() == 0 => 5,
        Value::Finite(_) => 6,
    };
    let negative = a & format.sign_bit() != 0;
    1 << if negative { 7 - bit } else { bit }
}

const fn is_nan(format: Format, a: u64) -> bool {
    Value::unpack(format, a).is_nan()
}

/// A number that orders as the float does, -0 with +0. The magnitudes order as their bits.
const fn order(format: Format, a: u64) -> i64 {
    let magnitude = (a & (format.mask() >> 1)).cast_signed();
    if a & format.sign_bit() == 0 {
        magnitude
    } else {
        -magnitude
    }
}

const fn select(format: Format, a: u64, b: u64, larger: bool) -> (u64, Flags) {
    let (a, b) = (a & format.mask(), b & format.mask());
    let (x, y) = (Value::unpack(format, a), Value::unpack(format, b));
    let flags = x.signals() | y.signals();
    let result = match (x.is_nan(), y.is_nan()) {
        (true, true) => format.nan(),
        (true, false) => b,
        (false, true) => a,
        (false, false) => {
            let negative = a & format.sign_bit() != 0;
            let (first, second) = (order(format, a), order(format, b));
            let a_is_less = first < second || (first == second && negative);
            if a_is_less == larger { b } else { a }
        }
    };
    (result, flags)
}
