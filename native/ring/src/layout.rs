//! Constants and memory layout of the split virtqueue (virtio 1.4, 2.7), and what both formats share.

use crate::spec_constants;

pub mod inflight;
pub mod packed;

/// Largest queue size (2.7, 2.8).
pub const MAX_QUEUE_SIZE: u16 = 32768;

spec_constants! {
    /// The descriptor continues at `next` (2.7.5).
    pub const VIRTQ_DESC_F_NEXT: u16 = 1;
    /// The buffer is device-writable, otherwise device-readable (2.7.5).
    pub const VIRTQ_DESC_F_WRITE: u16 = 2;
    /// The buffer is a table of descriptors (2.7.5.3).
    pub const VIRTQ_DESC_F_INDIRECT: u16 = 4;
    /// The driver disables used buffer notifications (2.7.6).
    pub const VIRTQ_AVAIL_F_NO_INTERRUPT: u16 = 1;
    /// The device disables available buffer notifications (2.7.8).
    pub const VIRTQ_USED_F_NO_NOTIFY: u16 = 1;
}

/// Bytes of one descriptor: `le64 addr, le32 len, le16 flags, le16 next` (2.7.5); as many when packed
/// (2.8.13).
pub const DESC_SIZE: u32 = 16;
/// Most bytes a chain may describe (2.7.5.2).
pub const MAX_CHAIN_BYTES: u64 = 1 << 32;

/// Offset of `flags` in the available ring and in the used ring (2.7.6, 2.7.8).
pub(crate) const RING_FLAGS: usize = 0;
/// Offset of `idx` in the available ring and in the used ring.
pub(crate) const RING_IDX: usize = 2;
/// Offset of `ring[0]` in the available ring and in the used ring.
const RING_ENTRIES: usize = 4;
/// Bytes of `ring[i]` in the available ring: `le16 head`.
const AVAIL_ELEM_SIZE: usize = 2;
/// Bytes of `ring[i]` in the used ring: `le32 id, le32 len`.
const USED_ELEM_SIZE: usize = 8;

/// Offset of `desc[index]` in the descriptor area.
pub(crate) const fn desc_offset(index: u16) -> usize {
    DESC_SIZE as usize * index as usize
}

/// Offset of `ring[slot]` in the driver area; with the queue size for `slot`, of `used_event`.
pub(crate) const fn avail_offset(slot: u16) -> usize {
    RING_ENTRIES + AVAIL_ELEM_SIZE * slot as usize
}

/// Offset of `ring[slot]` in the device area; with the queue size for `slot`, of `avail_event`.
pub(crate) const fn used_offset(slot: u16) -> usize {
    RING_ENTRIES + USED_ELEM_SIZE * slot as usize
}

/// Bytes of the descriptor area (2.7, 2.8).
#[must_use]
pub const fn descriptor_area_len(size: u16) -> u64 {
    desc_offset(size) as u64
}

/// Bytes of the driver area, `used_event` included (2.7).
#[must_use]
pub const fn driver_area_len(size: u16) -> u64 {
    avail_offset(size) as u64 + 2
}

/// Bytes of the device area, `avail_event` included (2.7).
#[must_use]
pub const fn device_area_len(size: u16) -> u64 {
    used_offset(size) as u64 + 2
}

/// One descriptor, copied out of shared memory or about to be copied in (2.7.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptor {
    /// Guest address of the buffer or table.
    pub addr: u64,
    /// Its length in bytes.
    pub len: u32,
    /// `VIRTQ_DESC_F_*`; other bits are ignored.
    pub flags: u16,
    /// The following descriptor of the chain, with `VIRTQ_DESC_F_NEXT`.
    pub next: u16,
}

impl Descriptor {
    /// Decode the two 64-bit words of a descriptor (values as loaded little-endian).
    #[must_use]
    pub const fn from_words(words: [u64; 2]) -> Self {
        let [addr, rest] = words;
        let [l0, l1, l2, l3, f0, f1, n0, n1] = rest.to_le_bytes();
        Self {
            addr,
            len: u32::from_le_bytes([l0, l1, l2, l3]),
            flags: u16::from_le_bytes([f0, f1]),
            next: u16::from_le_bytes([n0, n1]),
        }
    }

    /// Encode as two 64-bit words.
    #[must_use]
    pub const fn to_words(self) -> [u64; 2] {
        let rest = self.len as u64 | (self.flags as u64) << 32 | (self.next as u64) << 48;
        [self.addr, rest]
    }

    pub(crate) const fn has(self, flag: u16) -> bool {
        self.flags & flag != 0
    }
}

/// True if the peer's event index lies among the last `added` entries before `new`: then the peer wants
/// a notification (2.7.7.2, 2.7.10.1).
///
/// `added` may exceed 65535 if this was not called for long; then it covers every index.
pub(crate) fn need_event(event: u16, new: u16, added: u32) -> bool {
    u32::from(new.wrapping_sub(event).wrapping_sub(1)) < added
}

/// The event index that suppresses notifications for as long as possible: half the index space away.
///
/// A peer adds at most 32768 entries before it needs entries back from us, one short of reaching the
/// index. If it reaches the index later, it sends a spurious notification, which both sides have to
/// handle anyway (2.7.7.1, 2.7.10.2).
pub(crate) const fn never_event(next: u16) -> u16 {
    next.wrapping_add(0x8000)
}
