//! What the CSRs store.

use super::counter::Counter;
use super::status;
use crate::mmu::pmp::Pmp;

/// `menvcfg`: page-based A and D bits are updated by hardware (Svadu).
pub const MENVCFG_ADUE: u64 = 1 << 61;
/// `menvcfg`: `stimecmp` exists for S mode (Sstc).
pub const MENVCFG_STCE: u64 = 1 << 63;
/// `menvcfg` and `senvcfg`: FENCE orders device I/O as memory too. Stored; every fence does.
pub const ENVCFG_FIOM: u64 = 1;

/// Stored CSRs, in their architectural layout.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // the specification's names
pub struct Csrs {
    pub mstatus: u64,
    pub medeleg: u64,
    pub mideleg: u64,
    pub mie: u64,
    /// SSIP, STIP and SEIP as software wrote them.
    pub mip_software: u64,
    /// Interrupts that lines and timers hold pending.
    pub mip_lines: u64,
    pub mtvec: u64,
    pub mcounteren: u64,
    pub mcountinhibit: u64,
    pub menvcfg: u64,
    pub mscratch: u64,
    pub mepc: u64,
    pub mcause: u64,
    pub mtval: u64,
    pub stvec: u64,
    pub scounteren: u64,
    pub senvcfg: u64,
    pub sscratch: u64,
    pub sepc: u64,
    pub scause: u64,
    pub stval: u64,
    pub stimecmp: u64,
    pub satp: u64,
    pub fflags: u64,
    pub frm: u64,
    pub mcycle: Counter,
    pub minstret: Counter,
    pub pmp: Pmp,
}

impl Default for Csrs {
    /// Values after reset.
    fn default() -> Self {
        Self {
            mstatus: status::XL_64,
            medeleg: 0,
            mideleg: 0,
            mie: 0,
            mip_software: 0,
            mip_lines: 0,
            mtvec: 0,
            mcounteren: 0,
            mcountinhibit: 0,
            menvcfg: MENVCFG_ADUE,
            mscratch: 0,
            mepc: 0,
            mcause: 0,
            mtval: 0,
            stvec: 0,
            scounteren: 0,
            senvcfg: 0,
            sscratch: 0,
            sepc: 0,
            scause: 0,
            stval: 0,
            stimecmp: u64::MAX,
            satp: 0,
            fflags: 0,
            frm: 0,
            mcycle: Counter::default(),
            minstret: Counter::default(),
            pmp: Pmp::default(),
        }
    }
}

impl Csrs {
    /// `mip`.
    #[must_use]
    #[inline]
    pub fn mip(&self) -> u64 {
        self.mip_software | self.mip_lines
    }
}
