//! From virtual addresses to RAM.
//!
//! | module | what it holds |
//! |---|---|
//! | `pmp` | physical memory protection |
//! | `tlb` | translations remembered, forgotten in O(1) |
//! | `walk` | the page table walk of Sv39 |
//! | `translate` | walk and PMP together, and what the TLBs may remember |
//! | `access` | loads and stores: fast by TLB, slow otherwise |

mod access;
pub mod pmp;
pub mod tlb;
mod translate;
pub mod walk;

pub(crate) use access::AtomicPlace;

use crate::exception::{Cause, Exception};

/// Kind of a memory access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Instruction fetch.
    Fetch,
    /// Load or LR.
    Load,
    /// Store, SC or AMO.
    Store,
}

impl Kind {
    /// The page fault of this kind of access, at virtual address `va`.
    #[must_use]
    pub fn page_fault(self, va: u64) -> Exception {
        let cause = match self {
            Kind::Fetch => Cause::FetchPage,
            Kind::Load => Cause::LoadPage,
            Kind::Store => Cause::StorePage,
        };
        Exception::new(cause, va)
    }

    /// The access fault of this kind of access, at virtual address `va`.
    #[must_use]
    pub fn access_fault(self, va: u64) -> Exception {
        let cause = match self {
            Kind::Fetch => Cause::FetchAccess,
            Kind::Load => Cause::LoadAccess,
            Kind::Store => Cause::StoreAccess,
        };
        Exception::new(cause, va)
    }
}
