//! Guest RAM, shared with other processes.
//!
//! Devices in other processes read and write the same memory at any time. So no reference to it is
//! ever made: each access is an atomic load or store of its own width, relaxed, as the memory model
//! RVWMO asks of an aligned access. A misaligned access is made byte by byte.
#![allow(clippy::inline_always)] // on the path of every instruction

use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

/// Bytes of a page, of Sv39 and of the host alike.
pub const PAGE_SIZE: u64 = 4096;

/// A window of guest physical memory.
#[derive(Debug)]
pub struct Ram {
    pointer: *mut u8,
    base: u64,
    size: u64,
}

// SAFETY: the memory is used by atomic accesses only, which any thread may make.
unsafe impl Send for Ram {}
// SAFETY: as above; no method hands out a reference.
unsafe impl Sync for Ram {}

impl Ram {
    /// RAM at the physical addresses `base .. base + size`.
    ///
    /// # Safety
    /// `pointer` is the first of `size` bytes that stay mapped, readable and writable as long as
    /// this value lives. Nobody in this process makes a Rust reference to them meanwhile.
    ///
    /// # Panics
    /// If `pointer`, `base` or `size` is not a multiple of 4096, or `base + size` exceeds 2^56.
    #[must_use]
    pub unsafe fn new(pointer: *mut u8, base: u64, size: u64) -> Self {
        assert!(
            (pointer as u64 | base | size).is_multiple_of(PAGE_SIZE),
            "RAM is not page-aligned: pointer {pointer:p}, base {base:#x}, size {size:#x}"
        );
        let end = base.checked_add(size);
        assert!(
            end.is_some_and(|end| end <= 1 << 56),
            "RAM at {base:#x} of {size:#x} bytes exceeds 56 address bits"
        );
        Self {
            pointer,
            base,
            size,
        }
    }

    /// First physical address.
    #[must_use]
    pub fn base(&self) -> u64 {
        self.base
    }

    /// Bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether all of `address .. address + length` is RAM.
    #[must_use]
    #[inline]
    pub fn contains(&self, address: u64, length: u64) -> bool {
        let offset = address.wrapping_sub(self.base);
        offset < self.size && length <= self.size - offset
    }

    /// Number of the page of RAM that holds `address`, from 0; `None` outside RAM.
    #[must_use]
    #[inline]
    pub(crate) fn page_index(&self, address: u64) -> Option<usize> {
        let offset = address.wrapping_sub(self.base);
        (offset < self.size).then_some((offset / PAGE_SIZE) as usize)
    }

    /// Host address of `address`, which is RAM.
    #[inline]
    #[allow(clippy::cast_possible_truncation)] // hosts have 64 bits: `lib.rs` insists
    pub(crate) fn host(&self, address: u64) -> *mut u8 {
        debug_assert!(self.contains(address, 1));
        self.pointer
            .wrapping_add(address.wrapping_sub(self.base) as usize)
    }

    /// Load `width` bytes (1, 2, 4 or 8), zero-extended; `None` unless all of them are RAM.
    #[must_use]
    pub fn load(&self, address: u64, width: u64) -> Option<u64> {
        if !self.contains(address, width) {
            return None;
        }
        if address.is_multiple_of(width) {
            // SAFETY: the bytes are RAM, which `new` was promised to be mapped, and aligned.
            return Some(unsafe { load(self.host(address), width) });
        }
        let mut value = 0;
        for i in 0..width {
            // SAFETY: as above, for one byte.
            value |= unsafe { load(self.host(address + i), 1) } << (8 * i);
        }
        Some(value)
    }

    /// Store the low `width` bytes (1, 2, 4 or 8) of `value`; false unless all of them are RAM.
    #[must_use]
    pub fn store(&self, address: u64, width: u64, value: u64) -> bool {
        if !self.contains(address, width) {
            return false;
        }
        if address.is_multiple_of(width) {
            // SAFETY: the bytes are RAM, which `new` was promised to be mapped, and aligned.
            unsafe { store(self.host(address), width, value) };
            return true;
        }
        for i in 0..width {
            // SAFETY: as above, for one byte.
            unsafe { store(self.host(address + i), 1, value >> (8 * i)) };
        }
        true
    }

    /// The aligned 64-bit word at `address`, for atomic operations; `None` outside RAM.
    #[allow(clippy::cast_ptr_alignment)] // checked
    pub(crate) fn double(&self, address: u64) -> Option<&AtomicU64> {
        // SAFETY: mapped as `new` was promised, aligned, and an atomic may be shared.
        (self.contains(address, 8) && address.is_multiple_of(8))
            .then(|| unsafe { &*self.host(address).cast::<AtomicU64>() })
    }
}

/// Atomic, relaxed load of `width` bytes, zero-extended.
///
/// # Safety
/// `pointer` is aligned to `width` and points into mapped RAM.
#[inline(always)]
#[allow(clippy::cast_ptr_alignment)] // the caller promises it
pub(crate) unsafe fn load(pointer: *mut u8, width: u64) -> u64 {
    // SAFETY: the caller promises a mapped and aligned pointer.
    unsafe {
        match width {
            1 => (*pointer.cast::<AtomicU8>()).load(Ordering::Relaxed).into(),
            2 => (*pointer.cast::<AtomicU16>())
                .load(Ordering::Relaxed)
                .into(),
            4 => (*pointer.cast::<AtomicU32>())
                .load(Ordering::Relaxed)
                .into(),
            _ => (*pointer.cast::<AtomicU64>()).load(Ordering::Relaxed),
        }
    }
}

/// Atomic, relaxed store of the low `width` bytes of `value`.
///
/// # Safety
/// `pointer` is aligned to `width` and points into mapped RAM.
#[inline(always)]
#[allow(clippy::cast_ptr_alignment)] // the caller promises it
#[allow(clippy::cast_possible_truncation)] // the low bytes are meant
pub(crate) unsafe fn store(pointer: *mut u8, width: u64, value: u64) {
    // SAFETY: the caller promises a mapped and aligned pointer.
    unsafe {
        match width {
            1 => (*pointer.cast::<AtomicU8>()).store(value as u8, Ordering::Relaxed),
            2 => (*pointer.cast::<AtomicU16>()).store(value as u16, Ordering::Relaxed),
            4 => (*pointer.cast::<AtomicU32>()).store(value as u32, Ordering::Relaxed),
            _ => (*pointer.cast::<AtomicU64>()).store(value, Ordering::Relaxed),
        }
    }
}
