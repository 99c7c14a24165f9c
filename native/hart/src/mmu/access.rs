//! Loads and stores of the guest.
//!
//! The fast path is a TLB hit. All else is on the slow path: filling the TLB, misaligned accesses,
//! watchpoints, stores to pages with decoded code, devices.
#![allow(clippy::inline_always)] // on the path of every instruction

use super::Kind;
use crate::exception::{Cause, Exception, Stop};
use crate::exit::{Access, Exit};
use crate::hart::{Hart, Privilege};
use crate::ram::{self, PAGE_SIZE};

const OFFSET: u64 = PAGE_SIZE - 1;

/// Where an atomic operation is done.
pub(crate) struct AtomicPlace {
    /// Host address.
    pub pointer: *mut u8,
    /// Of an access on the slow path: physical address, and whether a TLB may remember the page.
    pub slow: Option<(u64, bool)>,
}

/// An access of one page or two, all of it RAM.
struct Parts {
    first: u64,
    /// Bytes on the first page.
    split: u64,
    second: u64,
}

impl Parts {
    fn address(&self, i: u64) -> u64 {
        if i < self.split {
            self.first + i
        } else {
            self.second + (i - self.split)
        }
    }
}

impl Hart {
    /// Load `width` bytes at `va` if the TLB has them.
    #[inline(always)]
    pub(crate) fn load_fast(&self, va: u64, width: u64) -> Option<u64> {
        let addend = self.load_tlb.get(va, width)?;
        // SAFETY: a TLB entry is made for a page of RAM only; its addend turns virtual addresses of the
        // page into host addresses. The key holds the low bits of `va`, so it is aligned.
        Some(unsafe { ram::load(host(va, addend), width) })
    }

    /// Store `width` bytes at `va` if the TLB has the page; false otherwise.
    #[inline(always)]
    pub(crate) fn store_fast(&self, va: u64, width: u64, value: u64) -> bool {
        let Some(addend) = self.store_tlb.get(va, width) else {
            return false;
        };
        // SAFETY: as in `load_fast`.
        unsafe { ram::store(host(va, addend), width, value) };
        true
    }

    /// Load `width` bytes at `va`, zero-extended.
    #[cold]
    #[inline(never)]
    pub(crate) fn load_slow(&mut self, va: u64, width: u64) -> Result<u64, Stop> {
        if let Some(value) = self.load_bytes(va, width) {
            return Ok(value);
        }
        let privilege = self.data_privilege();
        if !va.is_multiple_of(width) {
            let parts = self.resolve_parts(va, width, Kind::Load, privilege)?;
            self.watch(va, width, Kind::Load);
            return Ok((0..width).fold(0, |value, i| {
                let byte = self.ram.load(parts.address(i), 1).unwrap_or(0);
                value | byte << (8 * i)
            }));
        }
        let (address, uniform) = self.resolve_allowed(va, width, Kind::Load, privilege)?;
        let Some(value) = self.ram.load(address, width) else {
            return self.device_access(va, address, width, None);
        };
        self.remember(va, address, uniform, Kind::Load);
        self.watch(va, width, Kind::Load);
        Ok(value)
    }

    /// Store the low `width` bytes of `value` at `va`.
    #[cold]
    #[inline(never)]
    pub(crate) fn store_slow(&mut self, va: u64, width: u64, value: u64) -> Result<(), Stop> {
        if self.store_bytes(va, width, value) {
            return Ok(());
        }
        let privilege = self.data_privilege();
        if !va.is_multiple_of(width) {
            let parts = self.resolve_parts(va, width, Kind::Store, privilege)?;
            for i in 0..width {
                let address = parts.address(i);
                let _ = self.ram.store(address, 1, value >> (8 * i));
                self.note_store(address, 1);
            }
            self.watch(va, width, Kind::Store);
            return Ok(());
        }
        let (address, uniform) = self.resolve_allowed(va, width, Kind::Store, privilege)?;
        if !self.ram.store(address, width, value) {
            let low = if width == 8 {
                value
            } else {
                value & ((1 << (8 * width)) - 1)
            };
            return self
                .device_access(va, address, width, Some(low))
                .map(|_| ());
        }
        self.finish_store(va, address, width, uniform);
        Ok(())
    }

    /// Host address of an aligned, naturally atomic access of `width` bytes (4 or 8) at `va`, which must
    /// be RAM. After a store on the slow path [`finish_store`](Self::finish_store) has to follow.
    pub(crate) fn atomic_address(
        &mut self,
        va: u64,
        width: u64,
        kind: Kind,
    ) -> Result<AtomicPlace, Exception> {
        if !va.is_multiple_of(width) {
            let cause = match kind {
                Kind::Store => Cause::StoreMisaligned,
                _ => Cause::LoadMisaligned,
            };
            return Err(Exception::new(cause, va));
        }
        let known = match kind {
            Kind::Store => self.store_tlb.get(va, width),
            _ => self.load_tlb.get(va, width),
        };
        if let Some(addend) = known {
            return Ok(AtomicPlace {
                pointer: host(va, addend),
                slow: None,
            });
        }
        let privilege = self.data_privilege();
        let (address, uniform) = self.resolve_allowed(va, width, kind, privilege)?;
        if !self.ram.contains(address, width) {
            return Err(kind.access_fault(va));
        }
        Ok(AtomicPlace {
            pointer: self.ram.host(address),
            slow: Some((address, uniform)),
        })
    }

    /// What has to follow a store of `width` bytes to RAM on the slow path.
    pub(crate) fn finish_store(&mut self, va: u64, address: u64, width: u64, uniform: bool) {
        self.note_store(address, width);
        self.remember(va, address, uniform, Kind::Store);
        self.watch(va, width, Kind::Store);
    }

    /// Let the TLB for accesses of `kind` remember the page of RAM that `va` translates to, if it may.
    fn remember(&mut self, va: u64, address: u64, uniform: bool, kind: Kind) {
        if !uniform || self.debug.watches_page(va) {
            return;
        }
        let addend = (self.ram.host(address) as u64).wrapping_sub(va);
        match kind {
            Kind::Load => self.load_tlb.insert(va, addend),
            Kind::Store if self.code.is_watched(&self.ram, address) => {}
            Kind::Store => self.store_tlb.insert(va, addend),
            Kind::Fetch => {}
        }
    }

    /// A misaligned load within a page that the TLB has.
    fn load_bytes(&self, va: u64, width: u64) -> Option<u64> {
        let addend = self.load_tlb.get(va, 1)?;
        if (va & OFFSET) + width > PAGE_SIZE {
            return None;
        }
        // SAFETY: as in `load_fast`; the bytes are on one page.
        let byte = |i| unsafe { ram::load(host(va + i, addend), 1) };
        Some((0..width).fold(0, |value, i| value | byte(i) << (8 * i)))
    }

    /// A misaligned store within a page that the TLB has. False if it has not.
    fn store_bytes(&self, va: u64, width: u64, value: u64) -> bool {
        let Some(addend) = self.store_tlb.get(va, 1) else {
            return false;
        };
        if (va & OFFSET) + width > PAGE_SIZE {
            return false;
        }
        for i in 0..width {
            // SAFETY: as in `load_fast`; the bytes are on one page.
            unsafe { ram::store(host(va + i, addend), 1, value >> (8 * i)) };
        }
        true
    }

    /// A store may have changed decoded instructions: look at them again, and leave the present run.
    fn note_store(&mut self, address: u64, width: u64) {
        if self.code.note_store(&self.ram, address, width) {
            self.fetch_tlb.clear();
            self.attention = true;
        }
    }

    /// Remember that a watchpoint was hit. The instruction goes on and `run` returns behind it.
    pub(crate) fn watch(&mut self, va: u64, width: u64, kind: Kind) {
        if let Some(address) = self.debug.watchpoint(va, width, kind) {
            self.debug.hit = Some(address);
            self.attention = true;
        }
    }

    /// A misaligned access: to RAM only, on one page or two.
    fn resolve_parts(
        &mut self,
        va: u64,
        width: u64,
        kind: Kind,
        privilege: Privilege,
    ) -> Result<Parts, Exception> {
        let split = width.min(PAGE_SIZE - (va & OFFSET));
        let mut resolve = |va, length| {
            let (address, uniform) = self.resolve_allowed(va, length, kind, privilege)?;
            if !self.ram.contains(address, length) {
                return Err(kind.access_fault(va));
            }
            self.remember(va, address, uniform, kind);
            Ok(address)
        };
        let first = resolve(va, split)?;
        let second = if split < width {
            resolve(va.wrapping_add(split), width - split)?
        } else {
            0
        };
        Ok(Parts {
            first,
            split,
            second,
        })
    }

    /// A load or store outside RAM: by the board's answer if it is there, else leave for it.
    fn device_access(
        &mut self,
        va: u64,
        address: u64,
        width: u64,
        value: Option<u64>,
    ) -> Result<u64, Stop> {
        #[allow(clippy::cast_possible_truncation)] // at most 8
        let access = Access {
            address,
            width: width as u8,
            value,
            pc: self.pc_of_access,
        };
        let same = self.pending.is_some_and(|pending| {
            Access {
                pc: access.pc,
                ..pending
            } == access
        });
        match self.answer.take() {
            Some(result) if same => {
                self.pending = None;
                let kind = if value.is_some() {
                    Kind::Store
                } else {
                    Kind::Load
                };
                self.watch(va, width, kind);
                let mask = if width == 8 {
                    u64::MAX
                } else {
                    (1 << (8 * width)) - 1
                };
                result
                    .map(|value| value & mask)
                    .map_err(|()| kind.access_fault(va).into())
            }
            _ => {
                self.pending = Some(access);
                self.debug.skip = Some(access.pc); // executing it again is no second arrival
                Err(Stop::Exit(Exit::Access(access)))
            }
        }
    }
}

/// Host address of `va` by the addend of its page.
#[inline(always)]
#[allow(clippy::cast_possible_truncation)] // hosts have 64 bits: `lib.rs` insists
fn host(va: u64, addend: u64) -> *mut u8 {
    std::ptr::with_exposed_provenance_mut(va.wrapping_add(addend) as usize)
}
