//! Areas of rings in guest memory: each access is checked against the area and its own alignment.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};

use vm_memory::MmapRegion;

use super::RingArea;

/// An area of [`GuestRam`] inside one region. Keeps the region mapped.
#[derive(Debug, Clone)]
pub struct GuestArea {
    mapping: Arc<MmapRegion>,
    offset: usize,
    length: usize,
}

impl GuestArea {
    /// So many bytes of a mapping, at an offset: the caller has checked that they are inside.
    pub(super) fn new(mapping: Arc<MmapRegion>, offset: usize, length: usize) -> Self {
        Self {
            mapping,
            offset,
            length,
        }
    }

    /// A pointer to an aligned `T` at an offset.
    fn pointer<T>(&self, offset: usize) -> *mut T {
        let inside = offset
            .checked_add(size_of::<T>())
            .is_some_and(|end| end <= self.length);
        assert!(
            inside,
            "offset {offset} is outside an area of {} bytes",
            self.length
        );
        let pointer = self
            .mapping
            .as_ptr()
            .wrapping_add(self.offset + offset)
            .cast::<T>();
        assert!(pointer.is_aligned(), "offset {offset} is not aligned");
        pointer
    }

    pub(super) fn atomic_u16(&self, offset: usize) -> &AtomicU16 {
        // SAFETY: `pointer` checked bounds and alignment; the mapping outlives the borrow of `self`;
        // all accesses to it in this process are atomic or volatile, and other processes' accesses
        // are none that Rust could see.
        unsafe { AtomicU16::from_ptr(self.pointer(offset)) }
    }

    pub(super) fn atomic_u32(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: as for `atomic_u16`.
        unsafe { AtomicU32::from_ptr(self.pointer(offset)) }
    }

    fn atomic_u64(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: as for `atomic_u16`.
        unsafe { AtomicU64::from_ptr(self.pointer(offset)) }
    }

    /// Two words that follow each other, whose bounds are checked at once.
    fn pair(&self, offset: usize) -> [&AtomicU64; 2] {
        let first = self.pointer::<[u64; 2]>(offset).cast::<u64>();
        // SAFETY: as for `atomic_u16`, for both.
        [0, 1].map(|at| unsafe { AtomicU64::from_ptr(first.wrapping_add(at)) })
    }
}

impl RingArea for GuestArea {
    fn load(&self, offset: usize, order: Ordering) -> u16 {
        u16::from_le(self.atomic_u16(offset).load(order))
    }

    fn store(&self, offset: usize, value: u16, order: Ordering) {
        self.atomic_u16(offset).store(value.to_le(), order);
    }

    fn load_u32(&self, offset: usize, order: Ordering) -> u32 {
        u32::from_le(self.atomic_u32(offset).load(order))
    }

    fn store_u32(&self, offset: usize, value: u32, order: Ordering) {
        self.atomic_u32(offset).store(value.to_le(), order);
    }

    fn load_u64(&self, offset: usize, order: Ordering) -> u64 {
        u64::from_le(self.atomic_u64(offset).load(order))
    }

    fn store_u64(&self, offset: usize, value: u64, order: Ordering) {
        self.atomic_u64(offset).store(value.to_le(), order);
    }

    fn read_u16(&self, offset: usize) -> u16 {
        self.load(offset, Ordering::Relaxed)
    }

    fn write_u16(&self, offset: usize, value: u16) {
        self.store(offset, value, Ordering::Relaxed);
    }

    fn read_u32(&self, offset: usize) -> u32 {
        self.load_u32(offset, Ordering::Relaxed)
    }

    fn write_u32(&self, offset: usize, value: u32) {
        self.store_u32(offset, value, Ordering::Relaxed);
    }

    fn read_u64(&self, offset: usize) -> u64 {
        self.load_u64(offset, Ordering::Relaxed)
    }

    fn write_u64(&self, offset: usize, value: u64) {
        self.store_u64(offset, value, Ordering::Relaxed);
    }

    fn read_descriptor(&self, offset: usize) -> [u64; 2] {
        self.pair(offset)
            .map(|word| u64::from_le(word.load(Ordering::Relaxed)))
    }

    fn write_descriptor(&self, offset: usize, words: [u64; 2]) {
        let [low, high] = self.pair(offset);
        low.store(words[0].to_le(), Ordering::Relaxed);
        high.store(words[1].to_le(), Ordering::Relaxed);
    }
}
