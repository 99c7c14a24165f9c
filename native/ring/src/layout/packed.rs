//! Constants and memory layout of the packed virtqueue (virtio 1.4, 2.8).

use crate::spec_constants;

spec_constants! {
    /// Equals the wrap counter of the lap in which the driver made the descriptor available (2.8.1).
    pub const VIRTQ_DESC_F_AVAIL: u16 = 1 << 7;
    /// Equals the wrap counter of the lap in which the device used the descriptor (2.8.1).
    pub const VIRTQ_DESC_F_USED: u16 = 1 << 15;

    /// Enable all notifications (2.8.10).
    pub const RING_EVENT_FLAGS_ENABLE: u16 = 0;
    /// Disable all notifications (2.8.10).
    pub const RING_EVENT_FLAGS_DISABLE: u16 = 1;
    /// Enable the notification of one descriptor, with `VIRTIO_F_EVENT_IDX` (2.8.10).
    pub const RING_EVENT_FLAGS_DESC: u16 = 2;
}
/// The bits of `flags` that are not reserved (2.8.14).
const RING_EVENT_FLAGS_MASK: u16 = 3;

/// Bytes of the driver area and of the device area: an event suppression structure (2.8.10.1).
pub const EVENT_AREA_LEN: u64 = 4;

/// The bit of a 16-bit position that holds the wrap counter (2.8.14).
const WRAP_BIT: u16 = 1 << 15;

/// Offset in a descriptor of the word that holds `len`, `id` and `flags`; `addr` is at 0 (2.8.13).
pub(crate) const WORD_OFFSET: usize = 8;

/// The `len`, `id` and `flags` of a descriptor (2.8.13), which are stored and loaded as one word.
///
/// The specification orders `flags` after the rest. One aligned access of 8 bytes to all three keeps
/// that order whichever way the peer writes or reads them, and reads each of them once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word {
    /// Bytes of the buffer or table; of a used chain, bytes written.
    pub len: u32,
    /// Buffer ID of the chain. Valid in its last descriptor.
    pub id: u16,
    /// `VIRTQ_DESC_F_*`; other bits are ignored.
    pub flags: u16,
}

impl Word {
    /// Decode (values as loaded little-endian).
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        let [l0, l1, l2, l3, i0, i1, f0, f1] = bits.to_le_bytes();
        Self {
            len: u32::from_le_bytes([l0, l1, l2, l3]),
            id: u16::from_le_bytes([i0, i1]),
            flags: u16::from_le_bytes([f0, f1]),
        }
    }

    /// Encode.
    #[must_use]
    pub const fn to_bits(self) -> u64 {
        self.len as u64 | (self.id as u64) << 32 | (self.flags as u64) << 48
    }

    pub(crate) const fn has(self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    /// True if the driver made it available in the lap with this wrap counter (2.8.1).
    pub(crate) const fn is_available(self, wrap: bool) -> bool {
        self.has(VIRTQ_DESC_F_AVAIL) == wrap && self.has(VIRTQ_DESC_F_USED) != wrap
    }

    /// True if the device used it in the lap with this wrap counter (2.8.1).
    pub(crate) const fn is_used(self, wrap: bool) -> bool {
        self.has(VIRTQ_DESC_F_AVAIL) == wrap && self.has(VIRTQ_DESC_F_USED) == wrap
    }
}

/// The flags that make a descriptor available (2.8.1).
pub(crate) const fn available_flags(wrap: bool) -> u16 {
    if wrap {
        VIRTQ_DESC_F_AVAIL
    } else {
        VIRTQ_DESC_F_USED
    }
}

/// The flags that mark a descriptor used (2.8.1).
pub(crate) const fn used_flags(wrap: bool) -> u16 {
    if wrap {
        VIRTQ_DESC_F_AVAIL | VIRTQ_DESC_F_USED
    } else {
        0
    }
}

/// A ring entry and the wrap counter of its lap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position {
    /// Entry, below the queue size.
    pub index: u16,
    /// Wrap counter (2.8.1).
    pub wrap: bool,
}

impl Position {
    /// The initial position of both sides (2.8.1).
    pub const START: Self = Self {
        index: 0,
        wrap: true,
    };

    /// The position `entries` further on. `entries` is at most the queue size.
    pub(crate) const fn plus(self, entries: u16, size: u16) -> Self {
        // No overflow: the index is below 32768, and `entries` is at most that.
        let index = self.index + entries;
        if index < size {
            return Self { index, ..self };
        }
        Self {
            index: index - size,
            wrap: !self.wrap,
        }
    }

    /// Entries from an earlier position to this one, modulo two laps.
    pub(crate) fn since(self, earlier: Self, size: u16) -> u32 {
        let lap = |position: Self| if position.wrap { 0 } else { u32::from(size) };
        let ahead = lap(self) + u32::from(self.index) + 2 * u32::from(size);
        (ahead - lap(earlier) - u32::from(earlier.index)) % (2 * u32::from(size))
    }

    /// Encode as an event suppression structure and vhost-user do (2.8.14).
    #[must_use]
    pub const fn to_bits(self) -> u16 {
        if self.wrap {
            self.index | WRAP_BIT
        } else {
            self.index
        }
    }

    /// Decode. The index is at most 32767, and not checked against a queue size.
    #[must_use]
    pub const fn decode(bits: u16) -> Self {
        Self {
            index: bits & !WRAP_BIT,
            wrap: bits & WRAP_BIT != 0,
        }
    }

    /// Decode; None when the index is not below the queue size.
    #[must_use]
    pub const fn from_bits(bits: u16, size: u16) -> Option<Self> {
        let position = Self::decode(bits);
        if position.index < size {
            Some(position)
        } else {
            None
        }
    }
}

/// An event suppression structure (2.8.14): which notifications one side wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventSuppress {
    /// The descriptor for `RING_EVENT_FLAGS_DESC`, encoded as by [`Position::to_bits`].
    pub desc: u16,
    /// `RING_EVENT_FLAGS_*`; other bits are ignored.
    pub flags: u16,
}

impl EventSuppress {
    /// Decode (value as loaded little-endian).
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        let [d0, d1, f0, f1] = bits.to_le_bytes();
        Self {
            desc: u16::from_le_bytes([d0, d1]),
            flags: u16::from_le_bytes([f0, f1]) & RING_EVENT_FLAGS_MASK,
        }
    }

    /// Encode.
    #[must_use]
    pub const fn to_bits(self) -> u32 {
        self.desc as u32 | (self.flags as u32) << 16
    }
}
