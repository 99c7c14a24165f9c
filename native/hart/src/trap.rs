//! Traps: entry, return, and which interrupt is taken.

use crate::csr::interrupt;
use crate::csr::state::MENVCFG_STCE;
use crate::csr::status::{self, MIE, MPIE, MPP, MPP_SHIFT, MPRV, SIE, SPIE, SPP};
use crate::exception::Exception;
use crate::hart::{Hart, Privilege};

const INTERRUPT: u64 = 1 << 63;

impl Hart {
    /// Take the trap of an exception of the instruction at `pc`.
    pub(crate) fn take_exception(&mut self, exception: Exception) {
        self.traps += 1;
        let number = exception.cause as u64;
        let delegated = self.csrs.medeleg >> number & 1 != 0;
        self.enter_trap(number, exception.tval, delegated);
    }

    /// Take interrupt `number` before the instruction at `pc`.
    pub(crate) fn take_interrupt(&mut self, number: u64) {
        let delegated = self.csrs.mideleg >> number & 1 != 0;
        self.enter_trap(INTERRUPT | number, 0, delegated);
    }

    /// The interrupt that has to be taken now.
    #[inline]
    pub(crate) fn interrupt_to_take(&self) -> Option<u64> {
        let pending = self.csrs.mip() & self.csrs.mie;
        if pending == 0 {
            return None;
        }
        let mstatus = self.csrs.mstatus;
        let machine = self.privilege < Privilege::Machine || mstatus & MIE != 0;
        let supervisor = self.privilege < Privilege::Supervisor
            || (self.privilege == Privilege::Supervisor && mstatus & SIE != 0);
        let mideleg = self.csrs.mideleg;
        machine
            .then(|| interrupt::first(pending & !mideleg))
            .flatten()
            .or_else(|| {
                supervisor
                    .then(|| interrupt::first(pending & mideleg))
                    .flatten()
            })
    }

    fn enter_trap(&mut self, cause: u64, tval: u64, delegated: bool) {
        let mstatus = self.csrs.mstatus;
        let from = self.privilege as u64;
        let vector = if delegated && self.privilege != Privilege::Machine {
            let mut new = mstatus & !(SPP | SPIE | SIE);
            if mstatus & SIE != 0 {
                new |= SPIE;
            }
            if from != 0 {
                new |= SPP;
            }
            self.csrs.mstatus = new;
            self.csrs.sepc = self.pc;
            self.csrs.scause = cause;
            self.csrs.stval = tval;
            self.privilege = Privilege::Supervisor;
            self.csrs.stvec
        } else {
            let mut new = mstatus & !(MPP | MPIE | MIE) | from << MPP_SHIFT;
            if mstatus & MIE != 0 {
                new |= MPIE;
            }
            self.csrs.mstatus = new;
            self.csrs.mepc = self.pc;
            self.csrs.mcause = cause;
            self.csrs.mtval = tval;
            self.privilege = Privilege::Machine;
            self.csrs.mtvec
        };
        let base = vector & !3;
        self.pc = if cause & INTERRUPT != 0 && vector & 1 != 0 {
            base.wrapping_add(4 * (cause & !INTERRUPT))
        } else {
            base
        };
        self.update_context();
    }

    /// MRET.
    pub(crate) fn return_from_machine(&mut self) {
        let mstatus = self.csrs.mstatus;
        self.privilege = status::mpp(mstatus);
        let mut new = mstatus & !(MPP | MIE) | MPIE;
        if mstatus & MPIE != 0 {
            new |= MIE;
        }
        if self.privilege != Privilege::Machine {
            new &= !MPRV;
        }
        self.csrs.mstatus = new;
        self.pc = self.csrs.mepc;
        self.update_context();
    }

    /// SRET.
    pub(crate) fn return_from_supervisor(&mut self) {
        let mstatus = self.csrs.mstatus;
        self.privilege = if mstatus & SPP != 0 {
            Privilege::Supervisor
        } else {
            Privilege::User
        };
        let mut new = mstatus & !(SPP | SIE | MPRV) | SPIE;
        if mstatus & SPIE != 0 {
            new |= SIE;
        }
        self.csrs.mstatus = new;
        self.pc = self.csrs.sepc;
        self.update_context();
    }

    /// Bring MTIP and, with Sstc, STIP up to date with `mtime`.
    pub(crate) fn update_timers(&mut self) {
        self.csrs.mip_lines = self.lines_now();
    }

    /// What `mip_lines` has to be at the present `mtime`.
    pub(crate) fn lines_now(&self) -> u64 {
        let now = self.mtime();
        let mut lines = self.csrs.mip_lines & !(interrupt::MTI | interrupt::STI);
        if now >= self.mtimecmp {
            lines |= interrupt::MTI;
        }
        if self.csrs.menvcfg & MENVCFG_STCE != 0 && now >= self.csrs.stimecmp {
            lines |= interrupt::STI;
        }
        lines
    }

    /// The `mtime` at which the first enabled timer interrupt becomes pending.
    pub(crate) fn timer_deadline(&self) -> Option<u64> {
        let mie = self.csrs.mie;
        let machine = (mie & interrupt::MTI != 0).then_some(self.mtimecmp);
        let supervisor = (mie & interrupt::STI != 0 && self.csrs.menvcfg & MENVCFG_STCE != 0)
            .then_some(self.csrs.stimecmp);
        machine
            .into_iter()
            .chain(supervisor)
            .min()
            .filter(|&deadline| deadline != u64::MAX)
    }
}
