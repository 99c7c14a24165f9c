//! Bits of `mstatus` and `sstatus` (RISC-V privileged, "Machine Status Registers").
#![allow(missing_docs)] // the specification's names

use crate::hart::Privilege;

pub const SIE: u64 = 1 << 1;
pub const MIE: u64 = 1 << 3;
pub const SPIE: u64 = 1 << 5;
pub const MPIE: u64 = 1 << 7;
pub const SPP: u64 = 1 << 8;
pub const MPP: u64 = 3 << 11;
pub const MPP_SHIFT: u32 = 11;
/// State of the floating-point unit: Off, Initial, Clean, Dirty.
pub const FS: u64 = 3 << 13;
pub const FS_DIRTY: u64 = 3 << 13;
pub const MPRV: u64 = 1 << 17;
pub const SUM: u64 = 1 << 18;
pub const MXR: u64 = 1 << 19;
pub const TVM: u64 = 1 << 20;
pub const TW: u64 = 1 << 21;
pub const TSR: u64 = 1 << 22;
/// UXL and SXL, both 64 bits, read-only.
pub const XL_64: u64 = 2 << 32 | 2 << 34;
pub const UXL: u64 = 3 << 32;
/// FS is Dirty; computed when read.
pub const SD: u64 = 1 << 63;

/// What M mode can write.
pub const WRITABLE: u64 =
    SIE | MIE | SPIE | MPIE | SPP | MPP | FS | MPRV | SUM | MXR | TVM | TW | TSR;
/// What `sstatus` shows of `mstatus`, apart from SD.
pub const SSTATUS: u64 = SIE | SPIE | SPP | FS | SUM | MXR | UXL;
/// What a write of `sstatus` changes.
pub const SSTATUS_WRITABLE: u64 = SIE | SPIE | SPP | FS | SUM | MXR;

/// The mode that MPP names. The reserved encoding 2 is never stored.
#[must_use]
pub const fn mpp(mstatus: u64) -> Privilege {
    match (mstatus & MPP) >> MPP_SHIFT {
        0 => Privilege::User,
        1 => Privilege::Supervisor,
        _ => Privilege::Machine,
    }
}
