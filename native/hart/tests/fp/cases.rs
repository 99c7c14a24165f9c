//! Results that the specification names, and hard cases of rounding.

use virtmesh_hart::fp::{self, DZ, Flags, Format, NV, NX, OF, Rounding, UF};

use crate::operands::MODES;

const S: Format = Format::S;
const D: Format = Format::D;
const RNE: Rounding = Rounding::NearestEven;
const NAN: u64 = 0x7ff8_0000_0000_0000;
const SIGNALLING: u64 = 0x7ff0_0000_0000_0001;
const INFINITY: u64 = 0x7ff0_0000_0000_0000;
const SIGN: u64 = 1 << 63;
const ONE: u64 = 0x3ff0_0000_0000_0000;
const MIN_NORMAL: u64 = 0x0010_0000_0000_0000;
const MAX: u64 = INFINITY - 1;
const SINGLE_NAN: u64 = 0x7fc0_0000;

fn bits(value: f64) -> u64 {
    value.to_bits()
}

/// Payloads and signs of NaN operands are lost; only signalling ones are invalid.
#[test]
fn results_are_the_canonical_nan() {
    let quiet = 0xfff8_0000_0000_1234;
    assert_eq!(fp::add(D, quiet, ONE, RNE), (NAN, 0));
    assert_eq!(fp::mul(D, ONE, quiet, RNE), (NAN, 0));
    assert_eq!(fp::div(D, SIGNALLING, ONE, RNE), (NAN, NV));
    assert_eq!(fp::sqrt(D, quiet, RNE), (NAN, 0));
    assert_eq!(fp::sqrt(D, SIGNALLING, RNE), (NAN, NV));
    assert_eq!(
        fp::fma(D, ONE, ONE, SIGNALLING, false, false, RNE),
        (NAN, NV)
    );
    assert_eq!(fp::convert(D, S, quiet, RNE), (SINGLE_NAN, 0));
    assert_eq!(fp::convert(S, D, 0xff80_0001, RNE), (NAN, NV));
}

/// Operations without a result in the reals.
#[test]
fn invalid_operations_give_nan() {
    let minus_infinity = INFINITY | SIGN;
    assert_eq!(fp::add(D, INFINITY, minus_infinity, RNE), (NAN, NV));
    assert_eq!(fp::sub(D, INFINITY, INFINITY, RNE), (NAN, NV));
    assert_eq!(fp::mul(D, INFINITY, SIGN, RNE), (NAN, NV));
    assert_eq!(fp::div(D, INFINITY, minus_infinity, RNE), (NAN, NV));
    assert_eq!(fp::div(D, 0, SIGN, RNE), (NAN, NV));
    assert_eq!(fp::sqrt(D, ONE | SIGN, RNE), (NAN, NV));
    assert_eq!(fp::sqrt(D, minus_infinity, RNE), (NAN, NV));
    assert_eq!(
        fp::fma(D, INFINITY, ONE, minus_infinity, false, false, RNE),
        (NAN, NV)
    );
}

/// Infinity times zero is invalid beside a quiet NaN too; a NaN factor makes it a NaN product.
#[test]
fn a_quiet_addend_does_not_hide_an_invalid_product() {
    assert_eq!(fp::fma(D, INFINITY, 0, NAN, false, false, RNE), (NAN, NV));
    assert_eq!(fp::fma(D, 0, INFINITY, NAN, true, true, RNE), (NAN, NV));
    assert_eq!(fp::fma(D, NAN, 0, NAN, false, false, RNE), (NAN, 0));
}

/// The exception is for finite dividends; infinity over zero is exact.
#[test]
fn division_by_zero() {
    assert_eq!(fp::div(D, ONE, SIGN, RNE), (INFINITY | SIGN, DZ));
    assert_eq!(fp::div(D, 1, 0, RNE), (INFINITY, DZ));
    assert_eq!(fp::div(D, INFINITY, SIGN, RNE), (INFINITY | SIGN, 0));
}

/// Zeros that cancel are positive, but when rounding down.
#[test]
fn signs_of_zero() {
    for rm in MODES {
        let zero = if rm == Rounding::Down { SIGN } else { 0 };
        assert_eq!(fp::sub(D, ONE, ONE, rm), (zero, 0));
        assert_eq!(fp::add(D, 0, SIGN, rm), (zero, 0));
        assert_eq!(fp::add(D, SIGN, SIGN, rm), (SIGN, 0));
        assert_eq!(fp::fma(D, ONE, ONE, ONE, true, false, rm), (zero, 0));
        assert_eq!(fp::fma(D, ONE, 0, 0, true, true, rm), (SIGN, 0));
    }
    assert_eq!(fp::sqrt(D, SIGN, RNE), (SIGN, 0));
}

/// A number just below the smallest normal one that rounds to it.
///
/// It is tiny unless it rounds up with an unbounded exponent as well: the difference between
/// tininess after rounding and the precision of the subnormal result.
#[test]
fn tininess_is_detected_after_rounding() {
    let half = bits(0.5);
    // 1.11..1 (52 ones) x 2^-1023: exact with an unbounded exponent, a tie for a subnormal.
    let largest_fraction = MIN_NORMAL * 2 - 1;
    assert_eq!(
        fp::mul(D, largest_fraction, half, RNE),
        (MIN_NORMAL, UF | NX)
    );
    assert_eq!(
        fp::mul(D, largest_fraction, half, Rounding::Up),
        (MIN_NORMAL, UF | NX)
    );
    assert_eq!(
        fp::mul(D, largest_fraction, half, Rounding::Zero),
        (MIN_NORMAL - 1, UF | NX)
    );
    // (1 + 2^-52) x (1 - 2^-53) x 2^-1022 = (1 + 2^-53 - 2^-105) x 2^-1022 is normal.
    assert_eq!(fp::mul(D, MIN_NORMAL + 1, ONE - 1, RNE), (MIN_NORMAL, NX));
    // (1 - 2^-106) x 2^-1022 rounds up at every precision: not tiny.
    let (a, b) = (MIN_NORMAL, bits(1.0));
    let tiny = 1; // 2^-1074
    let below = fp::fma(D, tiny, bits(2.0_f64.powi(-60)), a, true, false, RNE);
    assert_eq!(below, (MIN_NORMAL, NX));
    let below = fp::fma(
        D,
        tiny,
        bits(2.0_f64.powi(-60)),
        a,
        true,
        false,
        Rounding::Down,
    );
    assert_eq!(below, (MIN_NORMAL - 1, UF | NX));
    assert_eq!(fp::mul(D, a, b, RNE), (MIN_NORMAL, 0));
    // Exact subnormal results underflow without a flag.
    assert_eq!(fp::mul(D, MIN_NORMAL, half, RNE), (MIN_NORMAL / 2, 0));
}

/// What is too large becomes infinity or the largest finite number.
#[test]
fn overflow_goes_where_the_mode_says() {
    let double = |a: u64, rm| fp::add(D, a, a, rm);
    for (rm, positive, negative) in [
        (Rounding::NearestEven, INFINITY, INFINITY),
        (Rounding::Zero, MAX, MAX),
        (Rounding::Down, MAX, INFINITY),
        (Rounding::Up, INFINITY, MAX),
        (Rounding::NearestMax, INFINITY, INFINITY),
    ] {
        assert_eq!(double(MAX, rm), (positive, OF | NX));
        assert_eq!(double(MAX | SIGN, rm), (negative | SIGN, OF | NX));
    }
    // Half of the last place more than the largest number: a tie, with an even neighbour above.
    let half = bits(2.0_f64.powi(970));
    assert_eq!(fp::add(D, MAX, half, RNE), (INFINITY, OF | NX));
    assert_eq!(fp::add(D, MAX, half - 1, RNE), (MAX, NX));
    assert_eq!(
        fp::add(D, MAX, half, Rounding::NearestMax),
        (INFINITY, OF | NX)
    );
    assert_eq!(fp::add(D, MAX, 1, Rounding::Up), (INFINITY, OF | NX));
}

/// Ties: to even, or away from zero.
#[test]
fn ties_to_even_and_away() {
    let half_last = bits(2.0_f64.powi(-53));
    assert_eq!(fp::add(D, ONE, half_last, RNE), (ONE, NX));
    assert_eq!(fp::add(D, ONE + 1, half_last, RNE), (ONE + 2, NX));
    assert_eq!(
        fp::add(D, ONE, half_last, Rounding::NearestMax),
        (ONE + 1, NX)
    );
    assert_eq!(
        fp::add(D, ONE | SIGN, half_last | SIGN, Rounding::NearestMax),
        ((ONE + 1) | SIGN, NX)
    );
    for (value, even, away) in [(0.5, 0, 1), (1.5, 2, 2), (2.5, 2, 3), (-2.5, -2, -3)] {
        let to_int = |rm| fp::to_int(D, bits(value), rm, true, 64);
        assert_eq!(to_int(RNE), (i64::cast_unsigned(even), NX));
        assert_eq!(to_int(Rounding::NearestMax), (i64::cast_unsigned(away), NX));
    }
}

/// One sticky bit, very far below, decides.
#[test]
fn a_far_bit_breaks_a_tie() {
    // 1 + 2^-53 + 2^-1074: just above a tie.
    let product = bits(1.0 + 2.0_f64.powi(-52));
    assert_eq!(fp::fma(D, ONE, ONE, 1, false, false, RNE), (ONE, NX));
    assert_eq!(
        fp::fma(D, product, bits(2.0_f64.powi(-53)), ONE, false, false, RNE),
        (ONE + 1, NX)
    );
    assert_eq!(fp::add(D, ONE, 1 | SIGN, Rounding::Down), (ONE - 1, NX));
    assert_eq!(fp::add(D, ONE, 1 | SIGN, Rounding::Zero), (ONE - 1, NX));
    assert_eq!(fp::add(D, ONE, 1, Rounding::Up), (ONE + 1, NX));
}

/// FMIN and FMAX of F 2.2.
#[test]
fn minimum_and_maximum_prefer_numbers() {
    assert_eq!(fp::min(D, NAN, ONE), (ONE, 0));
    assert_eq!(fp::max(D, ONE, SIGNALLING), (ONE, NV));
    assert_eq!(fp::min(D, SIGNALLING, NAN | SIGN), (NAN, NV));
    assert_eq!(fp::max(D, NAN | 7, NAN | SIGN), (NAN, 0));
    assert_eq!(fp::min(D, 0, SIGN), (SIGN, 0));
    assert_eq!(fp::min(D, SIGN, 0), (SIGN, 0));
    assert_eq!(fp::max(D, 0, SIGN), (0, 0));
    assert_eq!(fp::max(D, SIGN, 0), (0, 0));
    assert_eq!(fp::max(S, 0xff80_0000, SINGLE_NAN), (0xff80_0000, 0));
}

/// FEQ is quiet, FLT and FLE signal.
#[test]
fn comparisons_with_nan() {
    assert_eq!(fp::eq(D, NAN, NAN), (false, 0));
    assert_eq!(fp::eq(D, SIGNALLING, ONE), (false, NV));
    assert_eq!(fp::lt(D, NAN, ONE), (false, NV));
    assert_eq!(fp::le(D, ONE, NAN), (false, NV));
    assert_eq!(fp::eq(D, 0, SIGN), (true, 0));
    assert_eq!(fp::lt(D, SIGN, 0), (false, 0));
    assert_eq!(fp::le(D, 0, SIGN), (true, 0));
}

/// Each of the ten classes.
#[test]
fn classes() {
    let doubles = [
        INFINITY | SIGN,
        ONE | SIGN,
        1 | SIGN,
        SIGN,
        0,
        MIN_NORMAL - 1,
        MIN_NORMAL,
        INFINITY,
        SIGNALLING,
        NAN | SIGN,
    ];
    let singles: [u64; 10] = [
        0xff80_0000,
        0xbf80_0000,
        0x8000_0001,
        0x8000_0000,
        0,
        0x007f_ffff,
        0x0080_0000,
        0x7f80_0000,
        0xff80_0001,
        SINGLE_NAN,
    ];
    assert_eq!(
        doubles.map(|a| fp::classify(D, a)),
        std::array::from_fn(|bit| 1 << bit)
    );
    assert_eq!(
        singles.map(|a| fp::classify(S, a)),
        std::array::from_fn(|bit| 1 << bit)
    );
}

/// The table of the bounds of FCVT.int.fmt.
#[test]
fn conversions_saturate() {
    let minimum = |bits: u32| (i64::MIN >> (64 - bits)).cast_unsigned();
    let maximum = |bits: u32| u64::MAX >> (65 - bits);
    for width in [32, 64] {
        for (value, signed, unsigned) in [
            (INFINITY | SIGN, minimum(width), 0),
            (bits(-1e30), minimum(width), 0),
            (INFINITY, maximum(width), u64::MAX),
            (bits(1e30), maximum(width), u64::MAX),
            (NAN | SIGN, maximum(width), u64::MAX),
        ] {
            assert_eq!(fp::to_int(D, value, RNE, true, width), (signed, NV));
            assert_eq!(fp::to_int(D, value, RNE, false, width), (unsigned, NV));
        }
    }
}

/// The range is that of the rounded value, and NX stays away where NV is raised.
#[test]
fn the_rounded_value_decides_the_range() {
    let to = |value: f64, rm, signed, width| fp::to_int(D, bits(value), rm, signed, width);
    let zero = (0, NX);
    assert_eq!(to(-0.75, Rounding::Zero, false, 32), zero);
    assert_eq!(to(-0.5, RNE, false, 64), zero);
    assert_eq!(to(-0.5, Rounding::NearestMax, false, 64), (0, NV));
    assert_eq!(to(-0.25, Rounding::Down, false, 32), (0, NV));
    assert_eq!(
        to(2_147_483_647.5, Rounding::Zero, true, 32),
        (0x7fff_ffff, NX)
    );
    assert_eq!(to(2_147_483_647.5, RNE, true, 32), (0x7fff_ffff, NV));
    assert_eq!(
        to(-2_147_483_648.5, RNE, true, 32),
        (0xffff_ffff_8000_0000, NX)
    );
    assert_eq!(
        to(-2_147_483_648.5, Rounding::Down, true, 32),
        (0xffff_ffff_8000_0000, NV)
    );
    assert_eq!(to(4_294_967_295.0, RNE, false, 32), (u64::MAX, 0));
    assert_eq!(to(4_294_967_295.5, Rounding::Up, false, 32), (u64::MAX, NV));
    assert_eq!(
        to(18_446_744_073_709_551_616.0, RNE, false, 64),
        (u64::MAX, NV)
    );
    assert_eq!(
        to(-9_223_372_036_854_775_808.0, RNE, true, 64),
        (1 << 63, 0)
    );
    assert_eq!(to(-0.0, Rounding::Down, false, 64), (0, 0));
}

/// Narrowing overflows and underflows in the narrow format.
#[test]
fn narrowing() {
    let narrow = |value: f64, rm| fp::convert(D, S, bits(value), rm);
    let cases: [(f64, Rounding, u64, Flags); 6] = [
        (1e300, RNE, 0x7f80_0000, OF | NX),
        (-1e300, Rounding::Up, 0xff7f_ffff, OF | NX),
        (1e-300, RNE, 0, UF | NX),
        (-1e-300, Rounding::Down, 0x8000_0001, UF | NX),
        (f64::from(f32::MIN_POSITIVE) / 2.0, RNE, 0x0040_0000, 0),
        (0.1, RNE, 0x3dcc_cccd, NX),
    ];
    for (value, rm, single, flags) in cases {
        assert_eq!(narrow(value, rm), (single, flags));
    }
}

/// The upper half of a single's word takes no part.
#[test]
fn upper_halves_of_singles_are_ignored() {
    let boxed = |bits: u64| bits | 0xffff_ffff_0000_0000;
    assert_eq!(
        fp::add(S, boxed(0x3f80_0000), 0x3f80_0000, RNE),
        (0x4000_0000, 0)
    );
    assert_eq!(
        fp::min(S, boxed(0x3f80_0000), boxed(0x4000_0000)),
        (0x3f80_0000, 0)
    );
    assert_eq!(fp::eq(S, boxed(0), 0), (true, 0));
    assert_eq!(fp::classify(S, boxed(0)), 1 << 4);
}
