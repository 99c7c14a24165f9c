//! Rounding of exact results to a format.

use super::number::Finite;
use super::{Flags, Format, NX, OF, Rounding, UF};

/// Drop the last `count` bits of `significand`; return what is left, rounded, and whether that is inexact.
///
/// `significand` is below 2^127.
pub(super) const fn drop_bits(
    significand: u128,
    count: u32,
    negative: bool,
    rm: Rounding,
) -> (u128, bool) {
    // From 128 bits on, all of them are less than half of the last bit that is kept.
    let (significand, count) = if count < 128 {
        (significand, count)
    } else {
        ((significand != 0) as u128, 127)
    };
    let kept = significand >> count;
    let rest = significand ^ (kept << count);
    if rest == 0 {
        return (kept, false);
    }
    let half = 1 << (count - 1);
    let up = match rm {
        Rounding::NearestEven => rest > half || (rest == half && kept & 1 == 1),
        Rounding::Zero => false,
        Rounding::Down => negative,
        Rounding::Up => !negative,
        Rounding::NearestMax => rest >= half,
    };
    (kept + up as u128, true)
}

/// Shift right; the last bit of the result is set if a bit was lost (a sticky bit).
pub(super) const fn shift_right_sticky(significand: u128, count: u32) -> u128 {
    if count >= 128 {
        return (significand != 0) as u128;
    }
    let kept = significand >> count;
    kept | (kept << count != significand) as u128
}

/// Round `number`, not zero, to `format`.
///
/// The last bit of the significand may be sticky if it lies at least two bits below the last bit
/// that the format keeps of a normal number.
pub(super) const fn pack(format: Format, number: Finite, rm: Rounding) -> (u64, Flags) {
    let Finite {
        negative,
        exponent,
        significand,
    } = number;
    let precise =
        exponent + significand.ilog2().cast_signed() - format.fraction_bits().cast_signed();
    let last = if precise < format.last_bit() {
        format.last_bit()
    } else {
        precise
    };
    let (kept, inexact) = if last <= exponent {
        (significand << (exponent - last), false)
    } else {
        drop_bits(significand, (last - exponent).cast_unsigned(), negative, rm)
    };
    // The hidden bit, and a carry out of the significand, add to the exponent.
    let exponent = (last - format.last_bit()).cast_unsigned() as u64;
    let magnitude = (exponent << format.fraction_bits()) + low_half(kept);
    let sign = format.sign(negative);
    if magnitude >= format.infinity() {
        return (sign | overflow(format, negative, rm), OF | NX);
    }
    let flags = match (inexact, inexact && is_tiny(format, number, precise, rm)) {
        (false, _) => 0,
        (true, false) => NX,
        (true, true) => NX | UF,
    };
    (sign | magnitude, flags)
}

/// The low half of what is below 2^64.
#[expect(clippy::cast_possible_truncation, reason = "the high half is zero")]
pub(super) const fn low_half(value: u128) -> u64 {
    value as u64
}

/// Infinity, or the largest finite number if `rm` rounds towards zero.
const fn overflow(format: Format, negative: bool, rm: Rounding) -> u64 {
    let finite = match rm {
        Rounding::NearestEven | Rounding::NearestMax => false,
        Rounding::Zero => true,
        Rounding::Down => !negative,
        Rounding::Up => negative,
    };
    format.infinity() - finite as u64
}

/// Whether `number`, rounded as if the exponent had no bound, is below the smallest normal number.
///
/// `precise` is the exponent of the last bit that such a rounding keeps.
const fn is_tiny(format: Format, number: Finite, precise: i32, rm: Rounding) -> bool {
    if precise >= format.last_bit() {
        return false;
    }
    if precise < format.last_bit() - 1 || precise <= number.exponent {
        return true;
    }
    let count = (precise - number.exponent).cast_unsigned();
    let (kept, _) = drop_bits(number.significand, count, number.negative, rm);
    kept.ilog2() == format.fraction_bits()
}
