//! M extension: results that Rust's operators don't give (RISC-V unprivileged, "M").
#![allow(clippy::inline_always)] // on the path of every instruction
#![allow(clippy::cast_possible_truncation)] // halves of products
#![allow(clippy::cast_sign_loss)] // bit patterns
#![allow(clippy::manual_checked_ops)] // `Option::unwrap_or` is not const
#![allow(missing_docs)] // the mnemonics

#[inline(always)]
pub const fn mulh(a: u64, b: u64) -> u64 {
    ((a.cast_signed() as i128 * b.cast_signed() as i128) >> 64) as u64
}

#[inline(always)]
pub const fn mulhsu(a: u64, b: u64) -> u64 {
    ((a.cast_signed() as i128 * b as i128) >> 64) as u64
}

#[inline(always)]
pub const fn mulhu(a: u64, b: u64) -> u64 {
    ((a as u128 * b as u128) >> 64) as u64
}

/// -1 for a divisor of 0; the dividend when the quotient overflows.
#[inline(always)]
pub const fn div(a: u64, b: u64) -> u64 {
    if b == 0 {
        return u64::MAX;
    }
    a.cast_signed()
        .wrapping_div(b.cast_signed())
        .cast_unsigned()
}

#[inline(always)]
pub const fn divu(a: u64, b: u64) -> u64 {
    if b == 0 { u64::MAX } else { a / b }
}

/// The dividend for a divisor of 0; 0 when the quotient overflows.
#[inline(always)]
pub const fn rem(a: u64, b: u64) -> u64 {
    if b == 0 {
        return a;
    }
    a.cast_signed()
        .wrapping_rem(b.cast_signed())
        .cast_unsigned()
}

#[inline(always)]
pub const fn remu(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { a % b }
}

/// Sign-extend the low 32 bits.
#[inline(always)]
pub const fn word(value: u64) -> u64 {
    value as i32 as i64 as u64
}

#[inline(always)]
pub const fn divw(a: u64, b: u64) -> u64 {
    let (a, b) = (a as i32, b as i32);
    if b == 0 {
        return u64::MAX;
    }
    a.wrapping_div(b) as i64 as u64
}

#[inline(always)]
pub const fn divuw(a: u64, b: u64) -> u64 {
    let (a, b) = (a as u32, b as u32);
    if b == 0 {
        u64::MAX
    } else {
        word((a / b) as u64)
    }
}

#[inline(always)]
pub const fn remw(a: u64, b: u64) -> u64 {
    let (a, b) = (a as i32, b as i32);
    if b == 0 {
        return a as i64 as u64;
    }
    a.wrapping_rem(b) as i64 as u64
}

#[inline(always)]
pub const fn remuw(a: u64, b: u64) -> u64 {
    let (a, b) = (a as u32, b as u32);
    word(if b == 0 { a } else { a % b } as u64)
}
