//! Translation with all that decides about it: mode, page table, PMP.

use super::Kind;
use super::walk::{self, Fault, Leaf, Regime};
use crate::csr::state::MENVCFG_ADUE;
use crate::csr::status;
use crate::exception::Exception;
use crate::hart::{Hart, Privilege};
use crate::ram::PAGE_SIZE;

/// Physical addresses have 56 bits.
const PHYSICAL: u64 = 1 << 56;
const SATP_SV39: u64 = 8;

impl Hart {
    /// Effective privilege of loads and stores.
    pub(crate) fn data_privilege(&self) -> Privilege {
        if self.csrs.mstatus & status::MPRV != 0 {
            status::mpp(self.csrs.mstatus)
        } else {
            self.privilege
        }
    }

    /// Select the TLB contexts for the privilege mode and `mstatus`.
    pub(crate) fn update_context(&mut self) {
        self.fetch_tlb.select(match self.privilege {
            Privilege::User => 0,
            Privilege::Supervisor => 1,
            Privilege::Machine => 2,
        });
        let data = match self.data_privilege() {
            Privilege::User => 0,
            Privilege::Supervisor if self.csrs.mstatus & status::SUM == 0 => 1,
            Privilege::Supervisor => 2,
            Privilege::Machine => 3,
        };
        self.load_tlb.select(data);
        self.store_tlb.select(data);
    }

    fn uses_page_table(&self, privilege: Privilege) -> bool {
        privilege != Privilege::Machine && self.csrs.satp >> 60 == SATP_SV39
    }

    /// Translate `va` for an access of `kind` by `privilege`; PMP is not asked about the result. A page
    /// without table has level 0. Errors: page fault or access fault at `va`.
    pub(crate) fn resolve(
        &self,
        va: u64,
        kind: Kind,
        privilege: Privilege,
    ) -> Result<Leaf, Exception> {
        if !self.uses_page_table(privilege) {
            return if va < PHYSICAL {
                Ok(Leaf {
                    address: va,
                    level: 0,
                })
            } else {
                Err(kind.access_fault(va))
            };
        }
        let regime = Regime {
            satp: self.csrs.satp,
            privilege,
            sum: self.csrs.mstatus & status::SUM != 0,
            mxr: self.csrs.mstatus & status::MXR != 0,
            update: self.csrs.menvcfg & MENVCFG_ADUE != 0,
        };
        walk::walk(&self.ram, &self.csrs.pmp, va, kind, &regime).map_err(|fault| match fault {
            Fault::Page => kind.page_fault(va),
            Fault::Access => kind.access_fault(va),
        })
    }

    /// Physical address of `length` bytes at `va` on one page, allowed by page table and PMP. The second
    /// value tells whether a TLB may remember the page: PMP gives one answer for all of it.
    pub(crate) fn resolve_allowed(
        &mut self,
        va: u64,
        length: u64,
        kind: Kind,
        privilege: Privilege,
    ) -> Result<(u64, bool), Exception> {
        let Leaf { address, level } = self.resolve(va, kind, privilege)?;
        if !self.csrs.pmp.allows(address, length, kind, privilege) {
            return Err(kind.access_fault(va));
        }
        if level > 0 {
            self.superpages |= superpage_bit(va);
        }
        let page = address & !(PAGE_SIZE - 1);
        Ok((address, self.csrs.pmp.is_uniform(page, PAGE_SIZE)))
    }

    /// Physical address for debuggers.
    pub(crate) fn look_up(&self, va: u64) -> Option<u64> {
        if self.uses_page_table(self.privilege) {
            walk::look_up(&self.ram, self.csrs.satp, va)
        } else {
            Some(va)
        }
    }

    /// Forget all translations.
    pub(crate) fn flush_translations(&mut self) {
        self.fetch_tlb.clear();
        self.load_tlb.clear();
        self.store_tlb.clear();
        self.superpages = 0;
    }

    /// SFENCE.VMA for one address. A superpage is remembered as pages of 4 KiB, which can't be found
    /// singly: if one may hold `va`, all is forgotten.
    pub(crate) fn flush_page(&mut self, va: u64) {
        if self.superpages & superpage_bit(va) != 0 {
            self.flush_translations();
            return;
        }
        self.fetch_tlb.forget(va);
        self.load_tlb.forget(va);
        self.store_tlb.forget(va);
    }

    /// Compare decoded instructions with RAM before each page is executed again.
    pub(crate) fn check_code(&mut self) {
        self.code.check_all();
        self.fetch_tlb.clear();
    }
}

/// One of 64 bits for the GiB of `va`.
const fn superpage_bit(va: u64) -> u64 {
    1 << (va >> 30 & 63)
}
