//! Writing CSRs: WARL rules and side effects.

use super::interrupt;
use super::number as n;
use super::state::{ENVCFG_FIOM, MENVCFG_ADUE, MENVCFG_STCE};
use super::status;
use crate::hart::Hart;

/// Exceptions that can be delegated: all that S or U mode can raise.
const MEDELEG: u64 = 0xb3ff;
/// Counters that can be stopped: CY and IR.
const MCOUNTINHIBIT: u64 = 0b101;
const SATP_ASID_PPN: u64 = (1 << 60) - 1;

/// `old` with the bits of `mask` taken from `new`.
const fn merge(old: u64, new: u64, mask: u64) -> u64 {
    (old & !mask) | (new & mask)
}

/// `xtvec`: modes Direct and Vectored; a reserved mode keeps the old register.
const fn tvec(old: u64, new: u64) -> u64 {
    if new & 3 < 2 { new } else { old }
}

impl Hart {
    /// Write CSR `number`. `after` is the number of retired instructions when the value is to hold: 1
    /// more than now for an instruction. False if there is no such CSR or it is read-only.
    pub(crate) fn write_csr(&mut self, number: u16, value: u64, after: u64) -> bool {
        if number >> 10 == 3 {
            return false;
        }
        let csrs = &mut self.csrs;
        match number {
            n::FFLAGS => csrs.fflags = value & 0x1f,
            n::FRM => csrs.frm = value & 7,
            n::FCSR => {
                csrs.fflags = value & 0x1f;
                csrs.frm = value >> 5 & 7;
            }
            n::SSTATUS => {
                let value = merge(csrs.mstatus, value, status::SSTATUS_WRITABLE);
                self.write_mstatus(value);
            }
            n::SIE => csrs.mie = merge(csrs.mie, value, csrs.mideleg),
            n::STVEC => csrs.stvec = tvec(csrs.stvec, value),
            n::SCOUNTEREN => csrs.scounteren = value & 0xffff_ffff,
            n::SENVCFG => csrs.senvcfg = value & ENVCFG_FIOM,
            n::SSCRATCH => csrs.sscratch = value,
            n::SEPC => csrs.sepc = value & !1,
            n::SCAUSE => csrs.scause = value,
            n::STVAL => csrs.stval = value,
            n::SIP => {
                let mask = csrs.mideleg & interrupt::SSI;
                csrs.mip_software = merge(csrs.mip_software, value, mask);
            }
            n::STIMECMP => {
                csrs.stimecmp = value;
                self.update_timers();
            }
            n::SATP => self.write_satp(value),
            n::MSTATUS => self.write_mstatus(value),
            n::MISA => {}
            n::MEDELEG => csrs.medeleg = value & MEDELEG,
            n::MIDELEG => csrs.mideleg = value & interrupt::SUPERVISOR,
            n::MIE => csrs.mie = value & interrupt::ALL,
            n::MTVEC => csrs.mtvec = tvec(csrs.mtvec, value),
            n::MCOUNTEREN => csrs.mcounteren = value & 0xffff_ffff,
            n::MENVCFG => self.write_menvcfg(value),
            n::MCOUNTINHIBIT => {
                csrs.mcountinhibit = value & MCOUNTINHIBIT;
                csrs.mcycle.stop(value & 1 != 0, after);
                csrs.minstret.stop(value & 4 != 0, after);
            }
            n::MSCRATCH => csrs.mscratch = value,
            n::MEPC => csrs.mepc = value & !1,
            n::MCAUSE => csrs.mcause = value,
            n::MTVAL => csrs.mtval = value,
            n::MIP => self.write_mip(value),
            n::PMPCFG0 | n::PMPCFG2 => {
                let first = if number == n::PMPCFG0 { 0 } else { 8 };
                csrs.pmp.set_config(first, value);
                self.flush_translations();
            }
            n::PMPADDR0..=n::PMPADDR15 => {
                csrs.pmp
                    .set_address(usize::from(number - n::PMPADDR0), value);
                self.flush_translations();
            }
            n::MCYCLE => csrs.mcycle.write(value, after),
            n::MINSTRET => csrs.minstret.write(value, after),
            n::MHPMCOUNTER3..=n::MHPMCOUNTER31 | n::MHPMEVENT3..=n::MHPMEVENT31 => {}
            _ => return false,
        }
        true
    }

    fn write_mstatus(&mut self, value: u64) {
        let old = self.csrs.mstatus;
        let mut mask = status::WRITABLE;
        if (value & status::MPP) >> status::MPP_SHIFT == 2 {
            mask &= !status::MPP; // reserved: MPP keeps its value
        }
        self.csrs.mstatus = merge(old, value, mask);
        if (old ^ value) & status::MXR != 0 {
            self.flush_translations();
        }
        self.update_context();
    }

    /// STIP is software's only while Sstc does not drive it.
    fn write_mip(&mut self, value: u64) {
        let mut mask = interrupt::SUPERVISOR;
        if self.csrs.menvcfg & MENVCFG_STCE != 0 {
            mask &= !interrupt::STI;
        }
        self.csrs.mip_software = merge(self.csrs.mip_software, value, mask);
    }

    fn write_menvcfg(&mut self, value: u64) {
        self.csrs.menvcfg = value & (ENVCFG_FIOM | MENVCFG_ADUE | MENVCFG_STCE);
        if self.csrs.menvcfg & MENVCFG_STCE != 0 {
            self.csrs.mip_software &= !interrupt::STI;
        }
        self.update_timers();
        self.flush_translations();
    }

    /// Modes Bare and Sv39; a write of another mode has no effect (RISC-V privileged, "satp").
    fn write_satp(&mut self, value: u64) {
        let mode = value >> 60;
        if mode != 0 && mode != 8 {
            return;
        }
        let value = mode << 60 | (value & SATP_ASID_PPN);
        if value != self.csrs.satp {
            self.csrs.satp = value;
            self.flush_translations();
            self.check_code();
        }
    }
}
