//! Values of the CSRs.

use super::interrupt;
use super::number as n;
use super::status;
use crate::hart::Hart;

/// `misa`: RV64, extensions A C D F I M and modes S U.
const MISA: u64 =
    2 << 62 | 1 << 0 | 1 << 2 | 1 << 3 | 1 << 5 | 1 << 8 | 1 << 12 | 1 << 18 | 1 << 20;

impl Hart {
    /// The value of CSR `number`; `None` if there is none.
    pub(crate) fn read_csr(&self, number: u16) -> Option<u64> {
        let csrs = &self.csrs;
        Some(match number {
            n::FFLAGS => csrs.fflags,
            n::FRM => csrs.frm,
            n::FCSR => csrs.frm << 5 | csrs.fflags,
            n::CYCLE | n::MCYCLE => csrs.mcycle.read(self.retired),
            n::TIME => self.mtime(),
            n::INSTRET | n::MINSTRET => csrs.minstret.read(self.retired),
            n::SSTATUS => self.mstatus() & (status::SSTATUS | status::SD),
            n::SIE => csrs.mie & csrs.mideleg,
            n::STVEC => csrs.stvec,
            n::SCOUNTEREN => csrs.scounteren,
            n::SENVCFG => csrs.senvcfg,
            n::SSCRATCH => csrs.sscratch,
            n::SEPC => csrs.sepc,
            n::SCAUSE => csrs.scause,
            n::STVAL => csrs.stval,
            n::SIP => csrs.mip() & csrs.mideleg,
            n::STIMECMP => csrs.stimecmp,
            n::SATP => csrs.satp,
            n::MHARTID => self.id,
            n::MSTATUS => self.mstatus(),
            n::MISA => MISA,
            n::MEDELEG => csrs.medeleg,
            n::MIDELEG => csrs.mideleg,
            n::MIE => csrs.mie,
            n::MTVEC => csrs.mtvec,
            n::MCOUNTEREN => csrs.mcounteren,
            n::MENVCFG => csrs.menvcfg,
            n::MCOUNTINHIBIT => csrs.mcountinhibit,
            n::MSCRATCH => csrs.mscratch,
            n::MEPC => csrs.mepc,
            n::MCAUSE => csrs.mcause,
            n::MTVAL => csrs.mtval,
            n::MIP => csrs.mip(),
            n::PMPCFG0 => csrs.pmp.config(0),
            n::PMPCFG2 => csrs.pmp.config(8),
            n::PMPADDR0..=n::PMPADDR15 => csrs.pmp.address(usize::from(number - n::PMPADDR0)),
            n::MVENDORID
            | n::MARCHID
            | n::MIMPID
            | n::MCONFIGPTR
            | n::HPMCOUNTER3..=n::HPMCOUNTER31
            | n::MHPMCOUNTER3..=n::MHPMCOUNTER31
            | n::MHPMEVENT3..=n::MHPMEVENT31 => 0,
            _ => return None,
        })
    }

    /// What a read-modify-write instruction puts its bits into. Only `mip` differs from what is read:
    /// lines must not become software bits.
    pub(crate) fn read_csr_to_modify(&self, number: u16) -> Option<u64> {
        match number {
            n::MIP => Some(self.csrs.mip_software),
            n::SIP => Some(self.csrs.mip_software & self.csrs.mideleg & interrupt::SSI),
            _ => self.read_csr(number),
        }
    }

    fn mstatus(&self) -> u64 {
        let mstatus = self.csrs.mstatus;
        if mstatus & status::FS == status::FS_DIRTY {
            mstatus | status::SD
        } else {
            mstatus
        }
    }
}
