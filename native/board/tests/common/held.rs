//! Two writes that may be held, and the requests that a device gets.

#![allow(dead_code, reason = "each test uses a part")]

use super::assembler::*;
use super::machine::{Device, SLOT_UPPER};

/// `QueueSel` and `DriverFeaturesSel`: writes that may be held.
pub const QUEUE_SEL: u32 = 0x30;
pub const FEATURES_SEL: u32 = 0x24;
pub const WRITE: u8 = 0x84;

/// Write 0 to `QueueSel` and 1 to `DriverFeaturesSel`, then execute the rest.
pub fn after_two_writes(rest: &[u32]) -> Vec<u32> {
    let mut program = vec![lui(T0, SLOT_UPPER), addi(A1, ZERO, 1)];
    program.extend([sw(ZERO, 0x30, T0), sw(A1, 0x24, T0)]);
    program.extend(rest);
    program
}

/// What `after_two_writes` wrote.
pub const TWO: [(u32, u8, u64); 2] = [(QUEUE_SEL, WRITE, 0), (FEATURES_SEL, WRITE, 1)];

/// The accesses of each request, without those that only asked for the line.
pub fn requests(device: &Device) -> Vec<Vec<(u32, u8, u64)>> {
    let all = device.requests.try_iter().map(|request| request.accesses);
    all.filter(|accesses| !accesses.is_empty()).collect()
}

/// The two writes, and then something, in one request.
pub fn two_and(last: (u32, u8, u64)) -> Vec<(u32, u8, u64)> {
    let mut accesses = TWO.to_vec();
    accesses.push(last);
    accesses
}

/// Power off after a program.
pub fn then_poweroff(mut program: Vec<u32>) -> Vec<u32> {
    program.extend(poweroff());
    program
}
