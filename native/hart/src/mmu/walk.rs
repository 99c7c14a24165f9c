//! The page table walk of Sv39 (RISC-V privileged, "Virtual Address Translation Process").

use std::sync::atomic::Ordering;

use super::Kind;
use super::pmp::Pmp;
use crate::hart::Privilege;
use crate::ram::Ram;

/// Bits of a page table entry.
pub mod pte {
    #![allow(missing_docs)] // the specification's names
    pub const V: u64 = 1;
    pub const R: u64 = 1 << 1;
    pub const W: u64 = 1 << 2;
    pub const X: u64 = 1 << 3;
    pub const U: u64 = 1 << 4;
    pub const A: u64 = 1 << 6;
    pub const D: u64 = 1 << 7;
    pub const PPN: u64 = ((1 << 44) - 1) << 10;
    /// Reserved, or of extensions that are absent (Svnapot, Svpbmt).
    pub const RESERVED: u64 = !0 << 54;
}

const LEVELS: u32 = 3;

/// What decides about a translation, besides the page table.
#[derive(Clone, Copy, Debug)]
pub struct Regime {
    /// `satp`, with mode Sv39.
    pub satp: u64,
    /// Effective privilege: U or S.
    pub privilege: Privilege,
    /// `mstatus.SUM`
    pub sum: bool,
    /// `mstatus.MXR`
    pub mxr: bool,
    /// A and D are updated (`menvcfg.ADUE`) instead of a page fault.
    pub update: bool,
}

/// A translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Physical address.
    pub address: u64,
    /// Level of the leaf: 0 is a page of 4 KiB, 1 of 2 MiB, 2 of 1 GiB.
    pub level: u32,
}

/// Why there is no translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The page table forbids the access.
    Page,
    /// The page table can't be accessed: outside RAM, or PMP forbids it.
    Access,
}

/// Whether bits 63..39 of `va` equal bit 38.
#[must_use]
pub const fn is_canonical(va: u64) -> bool {
    (va << 25).cast_signed() >> 25 == va.cast_signed()
}

/// Physical address of the entry of `level` for `va` in the table of physical address `table`.
const fn entry_address(table: u64, va: u64, level: u32) -> u64 {
    table + (va >> (12 + 9 * level) & 0x1ff) * 8
}

const fn is_leaf(entry: u64) -> bool {
    entry & (pte::R | pte::X) != 0
}

/// Find the leaf for `va`: its address, its value, its level. `allow(entry address)` says whether PMP
/// lets the walk read it.
fn find(
    ram: &Ram,
    satp: u64,
    va: u64,
    allow: impl Fn(u64) -> bool,
) -> Result<(u64, u64, u32), Fault> {
    if !is_canonical(va) {
        return Err(Fault::Page);
    }
    let mut table = (satp & ((1 << 44) - 1)) << 12;
    for level in (0..LEVELS).rev() {
        let address = entry_address(table, va, level);
        if !allow(address) {
            return Err(Fault::Access);
        }
        let entry = ram.load(address, 8).ok_or(Fault::Access)?;
        if entry & pte::V == 0 || entry & (pte::R | pte::W) == pte::W || entry & pte::RESERVED != 0
        {
            return Err(Fault::Page);
        }
        if is_leaf(entry) {
            return Ok((address, entry, level));
        }
        if entry & (pte::D | pte::A | pte::U) != 0 {
            return Err(Fault::Page); // reserved in a pointer to the next level
        }
        table = (entry & pte::PPN) << 2;
    }
    Err(Fault::Page)
}

/// Physical address of `va` by leaf `entry` of `level`; `None` for a misaligned superpage.
const fn join(entry: u64, va: u64, level: u32) -> Option<u64> {
    let offset = (1 << (12 + 9 * level)) - 1;
    let base = (entry & pte::PPN) << 2;
    if base & offset & !0xfff != 0 {
        return None;
    }
    Some(base | (va & offset))
}

/// Whether leaf `entry` allows an access.
const fn permits(entry: u64, kind: Kind, regime: &Regime) -> bool {
    let user_page = entry & pte::U != 0;
    let by_mode = match regime.privilege {
        Privilege::User => user_page,
        _ => !user_page || (regime.sum && !matches!(kind, Kind::Fetch)),
    };
    by_mode
        && match kind {
            Kind::Fetch => entry & pte::X != 0,
            Kind::Load => entry & pte::R != 0 || (regime.mxr && entry & pte::X != 0),
            Kind::Store => entry & pte::W != 0,
        }
}

/// Translate `va`, and set A and D as `regime` says. Errors: [`Fault`].
///
/// The entry is changed by compare-and-swap: if it has changed since it was read, the walk begins again.
/// Another hart or device could do so for ever; after 16 times it is an access fault.
pub fn walk(ram: &Ram, pmp: &Pmp, va: u64, kind: Kind, regime: &Regime) -> Result<Leaf, Fault> {
    let allows = |address, kind| pmp.allows(address, 8, kind, Privilege::Supervisor);
    for _ in 0..16 {
        let (entry_address, entry, level) =
            find(ram, regime.satp, va, |address| allows(address, Kind::Load))?;
        if !permits(entry, kind, regime) {
            return Err(Fault::Page);
        }
        let address = join(entry, va, level).ok_or(Fault::Page)?;
        let wanted = match kind {
            Kind::Store => pte::A | pte::D,
            _ => pte::A,
        };
        if entry & wanted == wanted {
            return Ok(Leaf { address, level });
        }
        if !regime.update {
            return Err(Fault::Page);
        }
        if !allows(entry_address, Kind::Store) {
            return Err(Fault::Access);
        }
        let cell = ram.double(entry_address).ok_or(Fault::Access)?;
        if cell
            .compare_exchange(entry, entry | wanted, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
        {
            return Ok(Leaf { address, level });
        }
    }
    Err(Fault::Access)
}

/// Physical address of `va`, whatever its rights; changes nothing.
#[must_use]
pub fn look_up(ram: &Ram, satp: u64, va: u64) -> Option<u64> {
    let (_, entry, level) = find(ram, satp, va, |_| true).ok()?;
    join(entry, va, level)
}
