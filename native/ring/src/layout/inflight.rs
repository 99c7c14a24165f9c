//! The queue regions of an in-flight log (vhost-user, "Inflight I/O tracking").

use std::sync::atomic::Ordering;

use crate::memory::RingArea;

/// The one version there is; 0 is a region that is not in use.
pub(crate) const VERSION: u16 = 1;
/// Alignment of regions in bytes.
const REGION_ALIGNMENT: u64 = 64;

/// Offset of `version`; the word of 64 bits there also holds `desc_num` and two indexes: of
/// `QueueRegionSplit` `last_batch_head` and `used_idx`, of `QueueRegionPacked` `free_head` and
/// `old_free_head`.
pub(crate) const VERSION_OFFSET: usize = 8;

/// `QueueRegionSplit`: where single indexes are.
pub(crate) const LAST_BATCH_HEAD: usize = 12;
pub(crate) const USED_IDX: usize = 14;
const SPLIT_ENTRIES: usize = 16;
/// Bytes of `DescStateSplit`: a word with `inflight` and `next`, and `counter`.
const SPLIT_ENTRY: usize = 16;
/// Offset of `next` in `DescStateSplit`.
pub(crate) const SPLIT_NEXT: usize = 6;

/// `QueueRegionPacked`: where `free_head` is.
pub(crate) const FREE_HEAD: usize = 12;
/// The word with `used_idx`, `old_used_idx`, `used_wrap_counter` and `old_used_wrap_counter`.
pub(crate) const USED: usize = 16;
const PACKED_ENTRIES: usize = 32;
/// Bytes of `DescStatePacked`: a word with `inflight`, `next`, `last` and `num`, `counter`, a word with
/// `id`, `flags` and `len`, and `addr`.
const PACKED_ENTRY: usize = 32;
/// Offset of `next` in `DescStatePacked`.
pub(crate) const PACKED_NEXT: usize = 2;
/// Offset of the word with `id` in `DescStatePacked`.
pub(crate) const PACKED_WORD: usize = 16;
/// Offset of `addr` in `DescStatePacked`.
pub(crate) const PACKED_ADDR: usize = 24;

/// Offset of `inflight` in either entry; the byte behind it is padding.
pub(crate) const INFLIGHT: usize = 0;
/// Offset of `counter` in either entry.
pub(crate) const COUNTER: usize = 8;

/// Offset of `desc[index]` of a split queue's region.
pub(crate) const fn split_entry(index: u16) -> usize {
    SPLIT_ENTRIES + SPLIT_ENTRY * index as usize
}

/// Offset of `desc[index]` of a packed queue's region.
pub(crate) const fn packed_entry(index: u16) -> usize {
    PACKED_ENTRIES + PACKED_ENTRY * index as usize
}

/// Bytes of the region of one queue with `capacity` descriptors.
#[must_use]
pub const fn region_len(packed: bool, capacity: u16) -> u64 {
    let length = if packed {
        packed_entry(capacity)
    } else {
        split_entry(capacity)
    };
    (length as u64).next_multiple_of(REGION_ALIGNMENT)
}

/// Load four numbers of 16 bits as one word.
pub(crate) fn load_four<A: RingArea>(area: &A, offset: usize) -> [u16; 4] {
    let bytes = area.load_u64(offset, Ordering::Acquire).to_le_bytes();
    [0, 2, 4, 6].map(|start| u16::from_le_bytes([bytes[start], bytes[start + 1]]))
}

/// Store four numbers of 16 bits as one word: all of them, or none.
pub(crate) fn store_four<A: RingArea>(area: &A, offset: usize, numbers: [u16; 4]) {
    let [a, b, c, d] = numbers.map(u64::from);
    let word = a | b << 16 | c << 32 | d << 48;
    area.store_u64(offset, word, Ordering::Release);
}
