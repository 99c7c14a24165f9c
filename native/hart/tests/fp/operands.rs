//! Operands: mostly at the edges of the formats.

use proptest::prelude::*;
use virtmesh_hart::fp::{Format, Rounding};

/// Cases of each property.
pub const CASES: u32 = if cfg!(debug_assertions) { 500 } else { 20_000 };

/// Each rounding mode.
pub const MODES: [Rounding; 5] = [
    Rounding::NearestEven,
    Rounding::Zero,
    Rounding::Down,
    Rounding::Up,
    Rounding::NearestMax,
];

/// Bits of the fraction, and of the exponent.
const fn sizes(format: Format) -> (u32, u32) {
    match format {
        Format::S => (23, 8),
        Format::D => (52, 11),
    }
}

/// Exponent fields: those at both ends, around one, around the precision apart, and any.
fn exponent(bits: u32, fraction_bits: u32) -> impl Strategy<Value = u64> {
    let last = (1_u64 << bits) - 1;
    let middle = last / 2;
    let apart = u64::from(fraction_bits);
    prop_oneof![
        2 => 0..=2_u64,
        2 => last - 2..=last,
        3 => middle - 3..=middle + 3,
        2 => middle - apart - 3..=middle - apart + 3,
        2 => middle + apart - 3..=middle + apart + 3,
        1 => middle / 2 - 2..=middle / 2 + 2,
        3 => 0..=last,
    ]
}

/// Fractions: few bits set, few bits clear, and any.
fn fraction(bits: u32) -> impl Strategy<Value = u64> {
    let all = (1_u64 << bits) - 1;
    let bit = move |n: u32| if n < bits { 1_u64 << n } else { 0 };
    prop_oneof![
        2 => Just(0),
        2 => (0..=bits).prop_map(bit),
        2 => (0..=bits, 0..=bits).prop_map(move |(a, b)| bit(a) | bit(b)),
        2 => (0..=bits).prop_map(move |n| all ^ bit(n)),
        1 => (0..=bits).prop_map(move |n| all >> n),
        1 => (0..=bits).prop_map(move |n| all << n & all),
        3 => 0..=all,
    ]
}

/// Operands of a format.
pub fn operand(format: Format) -> impl Strategy<Value = u64> {
    let (fraction_bits, exponent_bits) = sizes(format);
    (
        any::<bool>(),
        exponent(exponent_bits, fraction_bits),
        fraction(fraction_bits),
    )
        .prop_map(move |(negative, exponent, fraction)| {
            (u64::from(negative) << (fraction_bits + exponent_bits))
                | (exponent << fraction_bits)
                | fraction
        })
}

/// A rounding mode.
pub fn rounding() -> impl Strategy<Value = Rounding> {
    proptest::sample::select(&MODES[..])
}

/// Integers: around powers of two, and any.
pub fn integer() -> impl Strategy<Value = u64> {
    prop_oneof![
        (0..64_u32, -3..=3_i64, any::<bool>()).prop_map(|(bit, near, negative)| {
            let value = (1_u64 << bit).wrapping_add_signed(near);
            if negative {
                value.wrapping_neg()
            } else {
                value
            }
        }),
        (any::<u64>(), 0..64_u32).prop_map(|(value, shift)| value >> shift),
    ]
}
