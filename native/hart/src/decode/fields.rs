//! Fields and immediates of 32-bit instructions (RISC-V unprivileged, 2.2 and 2.3).
#![allow(missing_docs)] // the specification's names

/// Bits `high..=low` of `raw`.
#[inline]
pub const fn bits(raw: u32, high: u32, low: u32) -> u32 {
    (raw >> low) & ((1 << (high - low + 1)) - 1)
}

pub const fn opcode(raw: u32) -> u32 {
    raw & 0x7f
}

#[allow(clippy::cast_possible_truncation)] // five bits
pub const fn rd(raw: u32) -> u8 {
    bits(raw, 11, 7) as u8
}

#[allow(clippy::cast_possible_truncation)] // five bits
pub const fn rs1(raw: u32) -> u8 {
    bits(raw, 19, 15) as u8
}

#[allow(clippy::cast_possible_truncation)] // five bits
pub const fn rs2(raw: u32) -> u8 {
    bits(raw, 24, 20) as u8
}

#[allow(clippy::cast_possible_truncation)] // five bits
pub const fn rs3(raw: u32) -> u8 {
    bits(raw, 31, 27) as u8
}

pub const fn funct3(raw: u32) -> u32 {
    bits(raw, 14, 12)
}

pub const fn funct7(raw: u32) -> u32 {
    bits(raw, 31, 25)
}

pub const fn imm_i(raw: u32) -> i32 {
    raw.cast_signed() >> 20
}

pub const fn imm_s(raw: u32) -> i32 {
    ((raw & 0xfe00_0000).cast_signed() >> 20) | bits(raw, 11, 7).cast_signed()
}

pub const fn imm_b(raw: u32) -> i32 {
    ((raw & 0x8000_0000).cast_signed() >> 19)
        | ((bits(raw, 7, 7) << 11) | (bits(raw, 30, 25) << 5) | (bits(raw, 11, 8) << 1))
            .cast_signed()
}

pub const fn imm_u(raw: u32) -> i32 {
    (raw & 0xffff_f000).cast_signed()
}

pub const fn imm_j(raw: u32) -> i32 {
    ((raw & 0x8000_0000).cast_signed() >> 11)
        | ((bits(raw, 19, 12) << 12) | (bits(raw, 20, 20) << 11) | (bits(raw, 30, 21) << 1))
            .cast_signed()
}
