//! The five rounding modes against each other, and the flags against the results.

use proptest::prelude::*;
use virtmesh_hart::fp::{self, DZ, Flags, Format, NV, NX, OF, Rounding, UF};

use crate::operands::{CASES, MODES, operand};

const SIGN: u64 = 1 << 63;
const INFINITY: u64 = 0x7ff0_0000_0000_0000;
const MIN_NORMAL: u64 = 0x0010_0000_0000_0000;

/// A number that orders as the double does.
fn order(bits: u64) -> i64 {
    let magnitude = (bits & !SIGN).cast_signed();
    if bits & SIGN == 0 {
        magnitude
    } else {
        -magnitude
    }
}

/// Check what holds for the results of one operation in the five modes.
fn check(results: [(u64, Flags); 5]) -> Result<(), TestCaseError> {
    let [even, zero, down, up, max] = results;
    let all = results.iter().fold(0, |all, (_, flags)| all | flags);
    if all & (NV | DZ) != 0 {
        prop_assert!(results.iter().all(|result| *result == even));
        return Ok(());
    }
    if all & NX == 0 {
        prop_assert_eq!(all, 0);
        let bits = results.map(|(bits, _)| bits);
        prop_assert!(bits.iter().all(|value| order(*value) == order(bits[0])));
        return Ok(());
    }
    for (bits, flags) in results {
        prop_assert_eq!(flags & NX, NX);
        let magnitude = bits & !SIGN;
        prop_assert!(flags & UF == 0 || magnitude <= MIN_NORMAL);
        prop_assert!(magnitude >= MIN_NORMAL || flags & UF == UF);
        prop_assert!(flags & OF == 0 || magnitude >= INFINITY - 1);
        prop_assert!(magnitude != INFINITY || flags & OF == OF);
    }
    prop_assert_eq!(order(down.0) + 1, order(up.0));
    prop_assert_eq!(zero.0, if down.0 & SIGN == 0 { down.0 } else { up.0 });
    prop_assert!([down.0, up.0].contains(&even.0));
    prop_assert!([down.0, up.0].contains(&max.0));
    // They differ at a tie only, and then in the direction that their names say.
    let away = if down.0 & SIGN == 0 { up.0 } else { down.0 };
    prop_assert!(even.0 == max.0 || (max.0 == away && even.0 & 1 == 0));
    Ok(())
}

/// Change the sign of what is not NaN.
fn negated((bits, flags): (u64, Flags)) -> (u64, Flags) {
    (
        if bits & !SIGN > INFINITY {
            bits
        } else {
            bits ^ SIGN
        },
        flags,
    )
}

const fn mirrored(rm: Rounding) -> Rounding {
    match rm {
        Rounding::Down => Rounding::Up,
        Rounding::Up => Rounding::Down,
        _ => rm,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    /// Down and up are neighbours, the others are one of both, and flags say what happened.
    #[test]
    fn modes_agree_with_each_other(
        a in operand(Format::D), b in operand(Format::D), c in operand(Format::D),
    ) {
        let d = Format::D;
        check(MODES.map(|rm| fp::add(d, a, b, rm)))?;
        check(MODES.map(|rm| fp::sub(d, a, b, rm)))?;
        check(MODES.map(|rm| fp::mul(d, a, b, rm)))?;
        check(MODES.map(|rm| fp::div(d, a, b, rm)))?;
        check(MODES.map(|rm| fp::sqrt(d, a, rm)))?;
        check(MODES.map(|rm| fp::fma(d, a, b, c, false, false, rm)))?;
        // Near cancellation.
        let product = fp::mul(d, a, b, Rounding::NearestEven).0;
        check(MODES.map(|rm| fp::fma(d, a, b, product, false, true, rm)))?;
        check(MODES.map(|rm| fp::fma(d, a, b, product ^ 1, false, true, rm)))?;
    }

    /// Negated operands give the negated result in the mirrored mode.
    #[test]
    fn modes_mirror(a in operand(Format::D), b in operand(Format::D), c in operand(Format::D)) {
        let d = Format::D;
        for rm in MODES {
            let other = mirrored(rm);
            prop_assert_eq!(fp::mul(d, a, b ^ SIGN, other), negated(fp::mul(d, a, b, rm)));
            prop_assert_eq!(fp::div(d, a, b ^ SIGN, other), negated(fp::div(d, a, b, rm)));
            let sum = fp::add(d, a ^ SIGN, b ^ SIGN, other);
            let zero = sum.0 & !SIGN == 0;
            prop_assert!(zero || sum == negated(fp::add(d, a, b, rm)));
            let fused = fp::fma(d, a, b, c, true, true, other);
            let zero = fused.0 & !SIGN == 0;
            prop_assert!(zero || fused == negated(fp::fma(d, a, b, c, false, false, rm)));
        }
    }

    /// A product is exact if and only if its error is zero: a fused sum gives the error, or NX for a tiny one.
    #[test]
    fn inexact_is_what_an_error_says(a in operand(Format::D), b in operand(Format::D)) {
        let (product, flags) = fp::mul(Format::D, a, b, Rounding::NearestEven);
        if flags & (NV | OF) == 0 && product & !SIGN < INFINITY {
            let (error, lost) = fp::fma(Format::D, a, b, product, false, true, Rounding::Up);
            prop_assert_eq!(flags & NX == NX, error & !SIGN != 0 || lost != 0);
        }
    }

    /// A conversion to an integer is exact if and only if it comes back.
    #[test]
    fn integers_come_back_if_exact(a in operand(Format::D)) {
        for rm in MODES {
            let (integer, flags) = fp::to_int(Format::D, a, rm, true, 64);
            prop_assert!(flags == 0 || flags == NX || flags == NV);
            if flags != NV {
                let (back, inexact) = fp::from_int(Format::D, integer, true, 64, rm);
                prop_assert_eq!(inexact, 0);
                prop_assert_eq!(flags == 0, order(back) == order(a));
            }
        }
    }
}
