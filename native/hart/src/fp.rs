//! Floating point of the F and D extensions (unprivileged ISA, chapters "F" and "D"), bit for bit.
//!
//! Pure functions over bit patterns; no host float takes part. A single-precision operand is the
//! low half of its word: the upper half is ignored, and is zero in results. NaN boxes are the
//! caller's. Each function that can raise flags returns them beside its result.
//!
//! Every arithmetic result is computed exactly, or exactly but for one sticky bit, as an integer of
//! 128 bits times a power of two, and goes through [`round::pack`], which rounds once. Results that
//! are NaN are the canonical NaN, tininess is detected after rounding (F, "NaN Generation and
//! Propagation", "Subnormal Arithmetic").
//!
//! The crate `rustc_apfloat` isn't used: it detects underflow at the precision of the subnormal
//! result, and so misses it for a result that this rounding makes the smallest normal number.

mod arithmetic;
mod compare;
mod convert;
mod number;
mod round;

pub use arithmetic::{add, div, fma, mul, sqrt, sub};
pub use compare::{classify, eq, le, lt, max, min};
pub use convert::{convert, from_int, to_int};

/// Accrued exceptions in the order of `fflags`: [`NX`], [`UF`], [`OF`], [`DZ`], [`NV`] or'ed.
pub type Flags = u8;

/// Inexact.
pub const NX: Flags = 1;
/// Underflow: tiny after rounding, and inexact.
pub const UF: Flags = 1 << 1;
/// Overflow.
pub const OF: Flags = 1 << 2;
/// Division by zero.
pub const DZ: Flags = 1 << 3;
/// Invalid operation.
pub const NV: Flags = 1 << 4;

/// The two binary formats of IEEE 754 that F and D use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Single precision, 32 bits.
    S,
    /// Double precision, 64 bits.
    D,
}

impl Format {
    /// Bits of the fraction, without the hidden bit.
    const fn fraction_bits(self) -> u32 {
        match self {
            Self::S => 23,
            Self::D => 52,
        }
    }

    /// Bias of the exponent, which is also the largest exponent.
    const fn bias(self) -> i32 {
        match self {
            Self::S => 127,
            Self::D => 1023,
        }
    }

    /// Exponent of the smallest normal number.
    const fn min_exponent(self) -> i32 {
        1 - self.bias()
    }

    /// Exponent of the last fraction bit of subnormal numbers.
    const fn last_bit(self) -> i32 {
        self.min_exponent() - self.fraction_bits().cast_signed()
    }

    /// The bits that the format uses.
    const fn mask(self) -> u64 {
        match self {
            Self::S => 0xffff_ffff,
            Self::D => u64::MAX,
        }
    }

    /// The sign bit.
    const fn sign_bit(self) -> u64 {
        self.mask() ^ (self.mask() >> 1)
    }

    /// The sign bit, if `negative`.
    const fn sign(self, negative: bool) -> u64 {
        if negative { self.sign_bit() } else { 0 }
    }

    /// Positive infinity: its bits are greater than those of any positive finite number.
    const fn infinity(self) -> u64 {
        match self {
            Self::S => 0x7f80_0000,
            Self::D => 0x7ff0_0000_0000_0000,
        }
    }

    /// The canonical NaN: positive, quiet, payload zero.
    const fn nan(self) -> u64 {
        self.infinity() | self.quiet_bit()
    }

    /// The fraction bit that a quiet NaN has and a signalling NaN has not.
    const fn quiet_bit(self) -> u64 {
        1 << (self.fraction_bits() - 1)
    }
}

/// The rounding modes, numbered as in `frm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Rounding {
    /// RNE: to nearest, ties to even.
    NearestEven = 0,
    /// RTZ: towards zero.
    Zero = 1,
    /// RDN: towards minus infinity.
    Down = 2,
    /// RUP: towards plus infinity.
    Up = 3,
    /// RMM: to nearest, ties to the larger magnitude.
    NearestMax = 4,
}

impl Rounding {
    /// Decode a static `rm` or `frm`; 5 and 6 are reserved, and 7 (DYN) stands for `frm`: `None`.
    #[must_use]
    pub const fn decode(rm: u8) -> Option<Self> {
        Some(match rm {
            0 => Self::NearestEven,
            1 => Self::Zero,
            2 => Self::Down,
            3 => Self::Up,
            4 => Self::NearestMax,
            _ => return None,
        })
    }
}
