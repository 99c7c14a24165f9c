//! Bit patterns taken apart.

use super::{Flags, Format, NV};

/// What a bit pattern stands for.
#[derive(Clone, Copy)]
pub(super) enum Value {
    Nan { signalling: bool },
    Infinity { negative: bool },
    Finite(Finite),
}

/// The number (-1)^`negative` x `significand` x 2^`exponent`; zero has a sign too.
///
/// The significand is below 2^127, so that its rounding has room for a carry.
#[derive(Clone, Copy)]
pub(super) struct Finite {
    pub negative: bool,
    pub exponent: i32,
    pub significand: u128,
}

impl Finite {
    pub const fn is_zero(self) -> bool {
        self.significand == 0
    }

    /// The same number, not zero, with its leading bit at `bit`, which is no lower than it was.
    pub const fn leading_at(self, bit: u32) -> Self {
        let shift = bit - self.significand.ilog2();
        Self {
            negative: self.negative,
            exponent: self.exponent - shift.cast_signed(),
            significand: self.significand << shift,
        }
    }
}

impl Value {
    #[expect(clippy::cast_possible_truncation, reason = "an exponent has 11 bits")]
    pub const fn unpack(format: Format, bits: u64) -> Self {
        let negative = bits & format.sign_bit() != 0;
        let magnitude = bits & (format.mask() >> 1);
        if magnitude > format.infinity() {
            let signalling = bits & format.quiet_bit() == 0;
            return Self::Nan { signalling };
        }
        if magnitude == format.infinity() {
            return Self::Infinity { negative };
        }
        let hidden = 1 << format.fraction_bits();
        let fraction = magnitude & (hidden - 1);
        let biased = ((magnitude >> format.fraction_bits()) as u32).cast_signed();
        Self::Finite(if biased == 0 {
            Finite {
                negative,
                exponent: format.last_bit(),
                significand: fraction as u128,
            }
        } else {
            let exponent = format.last_bit() + biased - 1;
            Finite {
                negative,
                exponent,
                significand: (hidden | fraction) as u128,
            }
        })
    }

    pub const fn is_nan(self) -> bool {
        matches!(self, Self::Nan { .. })
    }

    /// NV for a signalling NaN.
    pub const fn signals(self) -> Flags {
        if matches!(self, Self::Nan { signalling: true }) {
            NV
        } else {
            0
        }
    }

    /// The value with its sign changed, if `negate`.
    pub const fn negate_if(self, negate: bool) -> Self {
        match self {
            Self::Nan { .. } => self,
            Self::Infinity { negative } => Self::Infinity {
                negative: negative != negate,
            },
            Self::Finite(number) => Self::Finite(Finite {
                negative: number.negative != negate,
                ..number
            }),
        }
    }
}
