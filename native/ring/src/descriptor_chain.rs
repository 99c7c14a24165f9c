//! A descriptor chain, parsed.

use smallvec::SmallVec;

/// One piece of a buffer in guest memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Guest address.
    pub addr: u64,
    /// Length in bytes, not 0.
    pub len: u32,
}

/// Segments in the order of the chain. Short chains (most) need no allocation.
pub type Segments = SmallVec<[Segment; 4]>;

/// A chain the device took from a ring: all of it checked, none of it in shared memory.
///
/// The buffers it names are shared memory still: copy out what is parsed, and parse the copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// The name under which the chain is given back: its first descriptor in a split queue, its buffer
    /// ID in a packed one.
    pub head: u16,
    /// What the device may read, all inside guest memory.
    pub readable: Segments,
    /// What the device may write, all inside guest memory.
    pub writable: Segments,
}

/// How many buffers a chain has, and how many bytes.
#[must_use]
pub fn chain_totals(readable: &[Segment], writable: &[Segment]) -> (usize, u64) {
    let segments = readable.iter().chain(writable);
    // No overflow: at most 32768 buffers below 2^32 each.
    let bytes = segments.map(|segment| u64::from(segment.len)).sum();
    (readable.len() + writable.len(), bytes)
}
