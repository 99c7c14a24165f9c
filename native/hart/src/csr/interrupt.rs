//! Bits of `mip` and `mie`, and which interrupt comes first.
#![allow(missing_docs)] // the specification's names

pub const SSI: u64 = 1 << 1;
pub const MSI: u64 = 1 << 3;
pub const STI: u64 = 1 << 5;
pub const MTI: u64 = 1 << 7;
pub const SEI: u64 = 1 << 9;
pub const MEI: u64 = 1 << 11;

/// Interrupts of S mode: what `mideleg` can delegate.
pub const SUPERVISOR: u64 = SSI | STI | SEI;
/// Interrupts that exist.
pub const ALL: u64 = SUPERVISOR | MSI | MTI | MEI;

/// Number of the interrupt to take first of the set `pending` (RISC-V privileged, `mip`: "MEI, MSI, MTI,
/// SEI, SSI, STI").
#[must_use]
pub const fn first(pending: u64) -> Option<u64> {
    const ORDER: [u64; 6] = [11, 3, 7, 9, 1, 5];
    let mut i = 0;
    while i < ORDER.len() {
        if pending >> ORDER[i] & 1 != 0 {
            return Some(ORDER[i]);
        }
        i += 1;
    }
    None
}
