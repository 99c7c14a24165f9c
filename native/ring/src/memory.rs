//! The memory access that rings need, as traits. [`GuestRam`] implements them; the loom tests have
//! their own implementation.
//!
//! The traits distinguish two kinds of access. *Shared words* (`flags`, `idx` and the event indexes; of a
//! packed ring, every field of a descriptor but its address, and the event suppression structures) are
//! read while the peer may be writing them: each access has an ordering. *Plain* accesses (the rest) are
//! ordered by those words: an honest peer never accesses them at the same time, and loom fails if it
//! does. A dishonest peer may, so [`GuestRam`] makes them relaxed atomics.

use std::sync::atomic::Ordering;

mod guard;
mod guards;
mod guest_area;
mod guest_ram;
mod places;
mod region;

pub use guard::Guard;
pub use guest_area::GuestArea;
pub use guest_ram::GuestRam;
pub use region::RegionSpec;

/// Guest memory as the rings see it. Clones are the same memory.
pub trait RingMemory: Clone {
    /// A resolved area of a ring.
    type Area: RingArea;

    /// Resolve an area of a ring: `length` bytes at a guest address. None if they are not inside one
    /// region. The area keeps its memory mapped.
    fn area(&self, address: u64, length: u64) -> Option<Self::Area>;

    /// True if `length` bytes at a guest address are all inside guest memory.
    fn contains(&self, address: u64, length: u64) -> bool;

    /// Copy a descriptor of an indirect table out, as two words, each byte read once. The address need
    /// not be aligned (2.7.5.3 demands nothing). None when it is outside guest memory.
    fn read_descriptor(&self, address: u64) -> Option<[u64; 2]>;

    /// A sequentially consistent fence.
    fn full_fence(&self);
}

/// An area of a ring. Values are little-endian in memory (1.4) and native here. Offsets are in bytes.
///
/// Every method panics on an offset outside the area or not aligned to the value. The rings derive
/// offsets from the queue size, never from values that a peer wrote.
pub trait RingArea: Clone {
    /// Load a shared word of 16 bits.
    fn load(&self, offset: usize, order: Ordering) -> u16;
    /// Store a shared word of 16 bits.
    fn store(&self, offset: usize, value: u16, order: Ordering);
    /// Load a shared word of 32 bits.
    fn load_u32(&self, offset: usize, order: Ordering) -> u32;
    /// Store a shared word of 32 bits.
    fn store_u32(&self, offset: usize, value: u32, order: Ordering);
    /// Load a shared word of 64 bits.
    fn load_u64(&self, offset: usize, order: Ordering) -> u64;
    /// Store a shared word of 64 bits.
    fn store_u64(&self, offset: usize, value: u64, order: Ordering);
    /// Plain read of 16 bits.
    fn read_u16(&self, offset: usize) -> u16;
    /// Plain write of 16 bits.
    fn write_u16(&self, offset: usize, value: u16);
    /// Plain read of 32 bits.
    fn read_u32(&self, offset: usize) -> u32;
    /// Plain write of 32 bits.
    fn write_u32(&self, offset: usize, value: u32);
    /// Plain read of 64 bits.
    fn read_u64(&self, offset: usize) -> u64;
    /// Plain write of 64 bits.
    fn write_u64(&self, offset: usize, value: u64);
    /// Plain read of a descriptor, as two words.
    fn read_descriptor(&self, offset: usize) -> [u64; 2];
    /// Plain write of a descriptor, as two words.
    fn write_descriptor(&self, offset: usize, words: [u64; 2]);
}
