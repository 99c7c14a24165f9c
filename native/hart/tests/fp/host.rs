//! Round to nearest even is what the host computes. Its NaNs and flags differ.

use proptest::prelude::*;
use virtmesh_hart::fp::{self, Format, Rounding};

use crate::operands::{CASES, integer, operand};

const RNE: Rounding = Rounding::NearestEven;

/// Square root, of which LLVM believes here that it can't be NaN, unless kept from looking.
fn sqrt(value: f64) -> f64 {
    std::hint::black_box(value.sqrt())
}

fn single(bits: u64) -> f32 {
    f32::from_bits(u32::try_from(bits).expect("the upper half is zero"))
}

fn double(bits: u64) -> f64 {
    f64::from_bits(bits)
}

/// The bits that the guest has where the host has `value`.
fn singles(value: f32) -> u64 {
    if value.is_nan() {
        0x7fc0_0000
    } else {
        value.to_bits().into()
    }
}

/// The bits that the guest has where the host has `value`.
fn doubles(value: f64) -> u64 {
    if value.is_nan() {
        0x7ff8_0000_0000_0000
    } else {
        value.to_bits()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    /// Sums, products, quotients, roots, fused sums of doubles.
    #[test]
    fn doubles_are_the_hosts(
        a in operand(Format::D), b in operand(Format::D), c in operand(Format::D),
    ) {
        let (x, y, z) = (double(a), double(b), double(c));
        prop_assert_eq!(fp::add(Format::D, a, b, RNE).0, doubles(x + y));
        prop_assert_eq!(fp::sub(Format::D, a, b, RNE).0, doubles(x - y));
        prop_assert_eq!(fp::mul(Format::D, a, b, RNE).0, doubles(x * y));
        prop_assert_eq!(fp::div(Format::D, a, b, RNE).0, doubles(x / y));
        prop_assert_eq!(fp::sqrt(Format::D, a, RNE).0, doubles(sqrt(x)));
        let fused = |product, addend| fp::fma(Format::D, a, b, c, product, addend, RNE).0;
        prop_assert_eq!(fused(false, false), doubles(x.mul_add(y, z)));
        prop_assert_eq!(fused(false, true), doubles(x.mul_add(y, -z)));
        prop_assert_eq!(fused(true, false), doubles((-x).mul_add(y, z)));
        prop_assert_eq!(fused(true, true), doubles((-x).mul_add(y, -z)));
    }

    /// The same of singles.
    #[test]
    fn singles_are_the_hosts(
        a in operand(Format::S), b in operand(Format::S), c in operand(Format::S),
    ) {
        let (x, y, z) = (single(a), single(b), single(c));
        prop_assert_eq!(fp::add(Format::S, a, b, RNE).0, singles(x + y));
        prop_assert_eq!(fp::sub(Format::S, a, b, RNE).0, singles(x - y));
        prop_assert_eq!(fp::mul(Format::S, a, b, RNE).0, singles(x * y));
        prop_assert_eq!(fp::div(Format::S, a, b, RNE).0, singles(x / y));
        prop_assert_eq!(fp::sqrt(Format::S, a, RNE).0, singles(x.sqrt()));
        let fused = |product, addend| fp::fma(Format::S, a, b, c, product, addend, RNE).0;
        prop_assert_eq!(fused(false, false), singles(x.mul_add(y, z)));
        prop_assert_eq!(fused(false, true), singles(x.mul_add(y, -z)));
        prop_assert_eq!(fused(true, false), singles((-x).mul_add(y, z)));
        prop_assert_eq!(fused(true, true), singles((-x).mul_add(y, -z)));
    }

    /// Comparisons, and which of two numbers is less.
    #[test]
    #[expect(clippy::float_cmp, reason = "the comparison under test")]
    fn comparisons_are_the_hosts(a in operand(Format::D), b in operand(Format::D)) {
        let (x, y) = (double(a), double(b));
        prop_assert_eq!(fp::eq(Format::D, a, b).0, x == y);
        prop_assert_eq!(fp::lt(Format::D, a, b).0, x < y);
        prop_assert_eq!(fp::le(Format::D, a, b).0, x <= y);
        if x < y {
            prop_assert_eq!(fp::min(Format::D, a, b).0, a);
            prop_assert_eq!(fp::max(Format::D, a, b).0, b);
        }
    }

    /// Conversions between formats, to integers towards zero, from integers.
    #[test]
    #[expect(clippy::cast_possible_truncation, reason = "the conversions under test")]
    #[expect(clippy::cast_precision_loss, clippy::cast_sign_loss, reason = "as above")]
    fn conversions_are_the_hosts(d in operand(Format::D), s in operand(Format::S), i in integer()) {
        prop_assert_eq!(fp::convert(Format::D, Format::S, d, RNE).0, singles(double(d) as f32));
        prop_assert_eq!(fp::convert(Format::S, Format::D, s, RNE).0, doubles(single(s).into()));
        if !double(d).is_nan() {
            let to_int = |signed, bits| fp::to_int(Format::D, d, Rounding::Zero, signed, bits).0;
            prop_assert_eq!(to_int(true, 64), (double(d) as i64).cast_unsigned());
            prop_assert_eq!(to_int(false, 64), double(d) as u64);
            prop_assert_eq!(to_int(true, 32), i64::from(double(d) as i32).cast_unsigned());
            let unsigned = (double(d) as u32).cast_signed();
            prop_assert_eq!(to_int(false, 32), i64::from(unsigned).cast_unsigned());
        }
        let from_int = |format, signed, bits| fp::from_int(format, i, signed, bits, RNE).0;
        prop_assert_eq!(from_int(Format::D, true, 64), doubles(i.cast_signed() as f64));
        prop_assert_eq!(from_int(Format::D, false, 64), doubles(i as f64));
        prop_assert_eq!(from_int(Format::S, true, 64), singles(i.cast_signed() as f32));
        prop_assert_eq!(from_int(Format::S, false, 64), singles(i as f32));
        let low = i as u32;
        prop_assert_eq!(from_int(Format::D, true, 32), doubles(low.cast_signed().into()));
        prop_assert_eq!(from_int(Format::D, false, 32), doubles(low.into()));
        prop_assert_eq!(from_int(Format::S, true, 32), singles(low.cast_signed() as f32));
        prop_assert_eq!(from_int(Format::S, false, 32), singles(low as f32));
    }
}
