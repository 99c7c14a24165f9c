//! A descriptor chain, copied out of the ring and checked.

use smallvec::SmallVec;

/// One buffer of a chain, in guest memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Guest address.
    pub addr: u64,
    /// Length in bytes, not 0.
    pub len: u32,
}

/// Segments in the order of the chain. Short chains (most) need no allocation.
pub type Segments = SmallVec<[Segment; 4]>;

/// A chain that the device popped. The descriptors are checked copies.
///
/// The buffers themselves stay in shared memory. Copy out what is to be parsed, and parse the copy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chain {
    /// Identifies the chain in the used ring: the index of its first descriptor in a split queue, its
    /// buffer ID in a packed one.
    pub head: u16,
    /// Device-readable buffers, all inside guest memory.
    pub readable: Segments,
    /// Device-writable buffers, all inside guest memory.
    pub writable: Segments,
}

/// Count the buffers of a chain and their bytes.
#[must_use]
pub fn chain_totals(readable: &[Segment], writable: &[Segment]) -> (usize, u64) {
    let segments = readable.iter().chain(writable);
    // No overflow: at most 32768 buffers below 2^32 each.
    let bytes = segments.map(|segment| u64::from(segment.len)).sum();
    (readable.len() + writable.len(), bytes)
}
