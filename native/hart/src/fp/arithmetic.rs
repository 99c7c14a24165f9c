//! Addition, multiplication, division, square root, fused multiply-add.

use super::number::{Finite, Value};
use super::round::{pack, shift_right_sticky};
use super::{DZ, Flags, Format, NV, Rounding};

/// Leading bit of aligned addends: room for a carry above, for guard bits below a product.
const ALIGNED: u32 = 125;

/// `a` + `b` (FADD).
#[must_use]
pub fn add(format: Format, a: u64, b: u64, rm: Rounding) -> (u64, Flags) {
    sum(
        format,
        Value::unpack(format, a),
        Value::unpack(format, b),
        rm,
    )
}

/// `a` - `b` (FSUB).
#[must_use]
pub fn sub(format: Format, a: u64, b: u64, rm: Rounding) -> (u64, Flags) {
    sum(
        format,
        Value::unpack(format, a),
        Value::unpack(format, b).negate_if(true),
        rm,
    )
}

/// `a` x `b` (FMUL).
#[must_use]
pub fn mul(format: Format, a: u64, b: u64, rm: Rounding) -> (u64, Flags) {
    let (a, b) = (Value::unpack(format, a), Value::unpack(format, b));
    if a.is_nan() || b.is_nan() {
        return (format.nan(), a.signals() | b.signals());
    }
    match product(a, b) {
        Some(value) => exact_or_packed(format, value, rm),
        None => (format.nan(), NV),
    }
}

/// `a` x `b` + `c`, rounded once (FMADD).
///
/// FMSUB negates the addend, FNMSUB the product, FNMADD both. Infinity times zero is invalid even
/// if the addend is a quiet NaN.
#[must_use]
pub fn fma(
    format: Format,
    a: u64,
    b: u64,
    c: u64,
    negate_product: bool,
    negate_addend: bool,
    rm: Rounding,
) -> (u64, Flags) {
    let [a, b, c] = [a, b, c].map(|bits| Value::unpack(format, bits));
    let signals = a.signals() | b.signals() | c.signals();
    if a.is_nan() || b.is_nan() {
        return (format.nan(), signals);
    }
    match product(a, b) {
        Some(value) => sum(
            format,
            value.negate_if(negate_product),
            c.negate_if(negate_addend),
            rm,
        ),
        None => (format.nan(), signals | NV),
    }
}

/// `a` / `b` (FDIV). A finite number that isn't zero, divided by zero, raises DZ.
#[must_use]
pub fn div(format: Format, a: u64, b: u64, rm: Rounding) -> (u64, Flags) {
    let (a, b) = (Value::unpack(format, a), Value::unpack(format, b));
    match (a, b) {
        (Value::Nan { .. }, _) | (_, Value::Nan { .. }) => {
            (format.nan(), a.signals() | b.signals())
        }
        (Value::Infinity { .. }, Value::Infinity { .. }) => (format.nan(), NV),
        (Value::Infinity { negative }, Value::Finite(b)) => {
            (format.sign(negative != b.negative) | format.infinity(), 0)
        }
        (Value::Finite(a), Value::Infinity { negative }) => {
            (format.sign(negative != a.negative), 0)
        }
        (Value::Finite(a), Value::Finite(b)) => quotient(format, a, b, rm),
    }
}

/// Square root (FSQRT). That of -0 is -0; that of any other negative number is invalid.
#[must_use]
pub fn sqrt(format: Format, a: u64, rm: Rounding) -> (u64, Flags) {
    match Value::unpack(format, a) {
        Value::Nan { signalling } => (format.nan(), if signalling { NV } else { 0 }),
        Value::Finite(number) if number.is_zero() => (format.sign(number.negative), 0),
        Value::Infinity { negative: true } | Value::Finite(Finite { negative: true, .. }) => {
            (format.nan(), NV)
        }
        Value::Infinity { negative: false } => (format.infinity(), 0),
        Value::Finite(number) => root(format, number, rm),
    }
}

/// Multiply what isn't NaN, exactly; infinity times zero gives `None`.
fn product(a: Value, b: Value) -> Option<Value> {
    match (a, b) {
        (Value::Finite(a), Value::Finite(b)) => Some(Value::Finite(Finite {
            negative: a.negative != b.negative,
            exponent: a.exponent + b.exponent,
            significand: a.significand * b.significand, // 53 bits each
        })),
        (Value::Infinity { negative }, Value::Infinity { negative: other }) => {
            Some(Value::Infinity {
                negative: negative != other,
            })
        }
        (Value::Infinity { negative }, Value::Finite(number))
        | (Value::Finite(number), Value::Infinity { negative }) => {
            (!number.is_zero()).then_some(Value::Infinity {
                negative: negative != number.negative,
            })
        }
        (Value::Nan { .. }, _) | (_, Value::Nan { .. }) => None,
    }
}

/// Add two values, of which a finite one has at most 106 bits.
fn sum(format: Format, a: Value, b: Value, rm: Rounding) -> (u64, Flags) {
    match (a, b) {
        (Value::Nan { .. }, _) | (_, Value::Nan { .. }) => {
            (format.nan(), a.signals() | b.signals())
        }
        (Value::Infinity { negative }, Value::Infinity { negative: other })
            if negative != other =>
        {
            (format.nan(), NV)
        }
        (Value::Infinity { negative }, _) | (_, Value::Infinity { negative }) => {
            (format.sign(negative) | format.infinity(), 0)
        }
        (Value::Finite(a), Value::Finite(b)) => finite_sum(format, a, b, rm),
    }
}

fn finite_sum(format: Format, a: Finite, b: Finite, rm: Rounding) -> (u64, Flags) {
    match (a.is_zero(), b.is_zero()) {
        (true, true) if a.negative == b.negative => return (format.sign(a.negative), 0),
        (true, true) => return (cancelled(format, rm), 0),
        (true, false) => return pack(format, b, rm),
        (false, true) => return pack(format, a, rm),
        (false, false) => {}
    }
    let (a, b) = (a.leading_at(ALIGNED), b.leading_at(ALIGNED));
    let (large, small) = if (a.exponent, a.significand) >= (b.exponent, b.significand) {
        (a, b)
    } else {
        (b, a)
    };
    // Bits are lost only where the exponents are at least 20 apart: then at most one leading bit
    // cancels, so the sticky bit stays far below what is kept. It is the only odd addend.
    let distance = (large.exponent - small.exponent).cast_unsigned();
    let addend = shift_right_sticky(small.significand, distance);
    let significand = if large.negative == small.negative {
        large.significand + addend
    } else {
        large.significand - addend
    };
    if significand == 0 {
        return (cancelled(format, rm), 0);
    }
    pack(
        format,
        Finite {
            significand,
            ..large
        },
        rm,
    )
}

/// The zero that is the sum of numbers with opposite signs.
const fn cancelled(format: Format, rm: Rounding) -> u64 {
    format.sign(matches!(rm, Rounding::Down))
}

fn exact_or_packed(format: Format, value: Value, rm: Rounding) -> (u64, Flags) {
    match value {
        Value::Nan { .. } => (format.nan(), value.signals()),
        Value::Infinity { negative } => (format.sign(negative) | format.infinity(), 0),
        Value::Finite(number) if number.is_zero() => (format.sign(number.negative), 0),
        Value::Finite(number) => pack(format, number, rm),
    }
}

fn quotient(format: Format, a: Finite, b: Finite, rm: Rounding) -> (u64, Flags) {
    let negative = a.negative != b.negative;
    match (a.is_zero(), b.is_zero()) {
        (true, true) => return (format.nan(), NV),
        (true, false) => return (format.sign(negative), 0),
        (false, true) => return (format.sign(negative) | format.infinity(), DZ),
        (false, false) => {}
    }
    // 120 bits by 53: 67 or 68 bits.
    let (a, b) = (a.leading_at(119), b.leading_at(52));
    let (quotient, rest) = (a.significand / b.significand, a.significand % b.significand);
    let significand = quotient | u128::from(rest != 0);
    pack(
        format,
        Finite {
            negative,
            exponent: a.exponent - b.exponent,
            significand,
        },
        rm,
    )
}

fn root(format: Format, number: Finite, rm: Rounding) -> (u64, Flags) {
    let number = number.leading_at(124);
    // An even exponent; the root has 63 bits.
    let odd = number.exponent & 1;
    let square = number.significand << odd;
    let root = square.isqrt();
    let significand = root | u128::from(root * root != square);
    let exponent = (number.exponent - odd) / 2;
    pack(
        format,
        Finite {
            negative: false,
            exponent,
            significand,
        },
        rm,
    )
}
