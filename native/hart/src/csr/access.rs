//! Who may access which CSR: privilege, read-only numbers, and the bits that close single ones.

use super::number::{CYCLE, FCSR, FFLAGS, HPMCOUNTER31, SATP, STIMECMP, TIME};
use super::state::MENVCFG_STCE;
use super::status::{FS, TVM};
use crate::hart::{Hart, Privilege};

impl Hart {
    /// Whether a CSR instruction may access `number` now. That it exists is not checked here.
    pub(crate) fn csr_is_allowed(&self, number: u16, write: bool) -> bool {
        let needed = u64::from(number >> 8 & 3);
        let read_only = number >> 10 == 3;
        if (self.privilege as u64) < needed || (write && read_only) {
            return false;
        }
        match number {
            FFLAGS..=FCSR => self.csrs.mstatus & FS != 0,
            CYCLE..=HPMCOUNTER31 => self.counter_is_enabled(number - CYCLE),
            SATP => self.privilege == Privilege::Machine || self.csrs.mstatus & TVM == 0,
            STIMECMP if self.privilege != Privilege::Machine => {
                self.csrs.menvcfg & MENVCFG_STCE != 0
                    && self.csrs.mcounteren >> (TIME - CYCLE) & 1 != 0
            }
            _ => true,
        }
    }

    /// `mcounteren` opens counters to S mode, both enable registers together to U mode.
    fn counter_is_enabled(&self, index: u16) -> bool {
        let enabled = match self.privilege {
            Privilege::Machine => u64::MAX,
            Privilege::Supervisor => self.csrs.mcounteren,
            Privilege::User => self.csrs.mcounteren & self.csrs.scounteren,
        };
        enabled >> index & 1 != 0
    }
}
