//! As much of an assembler as the programs of these tests need (RV64I, Zicsr, WFI).

#![allow(dead_code, reason = "each test uses a part")]

pub const ZERO: u32 = 0;
pub const T0: u32 = 5;
pub const T1: u32 = 6;
pub const T2: u32 = 7;
pub const A0: u32 = 10;
pub const A1: u32 = 11;
pub const A2: u32 = 12;

pub const MSTATUS: u32 = 0x300;
pub const MIE: u32 = 0x304;
pub const MTVEC: u32 = 0x305;
pub const MCAUSE: u32 = 0x342;
pub const MTVAL: u32 = 0x343;

pub const WFI: u32 = 0x1050_0073;

/// Load the upper 20 bits; the others are 0.
pub fn lui(rd: u32, upper: u32) -> u32 {
    upper << 12 | rd << 7 | 0x37
}

pub fn addi(rd: u32, rs: u32, immediate: i32) -> u32 {
    low12(immediate) << 20 | rs << 15 | rd << 7 | 0x13
}

/// rd = pc of this instruction + upper << 12.
pub fn auipc(rd: u32, upper: u32) -> u32 {
    upper << 12 | rd << 7 | 0x17
}

/// Load of 4 bytes.
pub fn lw(rd: u32, offset: i32, base: u32) -> u32 {
    low12(offset) << 20 | base << 15 | 2 << 12 | rd << 7 | 0x03
}

/// Load of a byte, zero-extended.
pub fn lbu(rd: u32, offset: i32, base: u32) -> u32 {
    low12(offset) << 20 | base << 15 | 4 << 12 | rd << 7 | 0x03
}

/// Store of 4 bytes.
pub fn sw(rs: u32, offset: i32, base: u32) -> u32 {
    store(2, rs, offset, base)
}

/// Store of 8 bytes.
pub fn sd(rs: u32, offset: i32, base: u32) -> u32 {
    store(3, rs, offset, base)
}

/// Store of a byte.
pub fn sb(rs: u32, offset: i32, base: u32) -> u32 {
    store(0, rs, offset, base)
}

/// Jump, `offset` bytes from here.
pub fn j(offset: i32) -> u32 {
    let bits = offset.cast_unsigned();
    let part = |from: u32, count: u32| bits >> from & ((1 << count) - 1);
    part(20, 1) << 31 | part(1, 10) << 21 | part(11, 1) << 20 | part(12, 8) << 12 | 0x6F
}

pub fn csrw(csr: u32, rs: u32) -> u32 {
    csr << 20 | rs << 15 | 1 << 12 | 0x73
}

pub fn csrr(rd: u32, csr: u32) -> u32 {
    csr << 20 | 2 << 12 | rd << 7 | 0x73
}

fn store(width: u32, rs: u32, offset: i32, base: u32) -> u32 {
    let bits = low12(offset);
    (bits >> 5) << 25 | rs << 20 | base << 15 | width << 12 | (bits & 31) << 7 | 0x23
}

fn low12(value: i32) -> u32 {
    assert!(
        (-2048..2048).contains(&value),
        "{value} has more than 12 bits"
    );
    value.cast_unsigned() & 0xFFF
}

/// Power off.
pub fn poweroff() -> Vec<u32> {
    syscon(0x5, 0x555)
}

/// Write upper << 12 + lower to the test device, and spin.
pub fn syscon(upper: u32, lower: i32) -> Vec<u32> {
    vec![
        lui(T1, 0x100),
        lui(T2, upper),
        addi(T2, T2, lower),
        sw(T2, 0, T1),
        j(0),
    ]
}
