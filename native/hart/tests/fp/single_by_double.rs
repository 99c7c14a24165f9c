//! Doubles hold sums (mostly) and products of singles exactly: rounding them must give the singles.

use proptest::prelude::*;
use virtmesh_hart::fp::{self, Format, NX};

use crate::operands::{CASES, operand, rounding};

const S: Format = Format::S;
const D: Format = Format::D;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    /// Results and flags, in each rounding mode.
    #[test]
    fn a_single_result_is_the_rounded_double(
        a in operand(S), b in operand(S), c in operand(S), rm in rounding(),
    ) {
        let widen = |bits| fp::convert(S, D, bits, rm).0;
        let narrow = |(bits, flags)| {
            let (bits, rounded) = fp::convert(D, S, bits, rm);
            (bits, rounded | flags)
        };
        let signals = [a, b, c].map(|bits| fp::convert(S, D, bits, rm).1);
        let (x, y, z) = (widen(a), widen(b), widen(c));

        let product = fp::mul(D, x, y, rm);
        prop_assert_eq!(product.1 & NX, 0);
        let (bits, flags) = narrow(product);
        prop_assert_eq!(fp::mul(S, a, b, rm), (bits, flags | signals[0] | signals[1]));

        let sum = fp::add(D, x, y, rm);
        if sum.1 & NX == 0 {
            let (bits, flags) = narrow(sum);
            prop_assert_eq!(fp::add(S, a, b, rm), (bits, flags | signals[0] | signals[1]));
        }
        let fused = fp::fma(D, x, y, z, false, false, rm);
        if fused.1 & NX == 0 {
            let (bits, flags) = narrow(fused);
            let signals = signals.iter().fold(flags, |all, one| all | one);
            prop_assert_eq!(fp::fma(S, a, b, c, false, false, rm), (bits, signals));
        }
    }
}
