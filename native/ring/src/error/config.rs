//! Errors of a queue's configuration.

use thiserror::Error;

/// The configuration of a queue is refused (virtio 1.4, 2.7 and 2.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// The size of a split queue is 0, more than 32768, or no power of two.
    #[error("queue size {size} is not a power of two from 1 to 32768")]
    BadSize {
        /// The size asked for.
        size: u16,
    },
    /// The size of a packed queue is 0 or more than 32768.
    #[error("queue size {size} is not from 1 to 32768")]
    BadPackedSize {
        /// The size asked for.
        size: u16,
    },
    /// The base of a split queue is not an index of 16 bits.
    #[error(
        "a split virtqueue cannot go on from vring base {base:#x}, which has more than 16 bits"
    )]
    BadBase {
        /// The index asked for.
        base: u32,
    },
    /// A position in the base of a packed queue is outside the ring, or the two are more than one lap apart.
    #[error("a packed virtqueue of size {size} cannot go on from vring base {base:#x}")]
    BadPackedBase {
        /// The base asked for.
        base: u32,
        /// Queue size.
        size: u16,
    },
    /// The state is that of the other ring format.
    #[error(
        "a {} virtqueue cannot go on from the state of a {} one",
        format_name(*packed), format_name(!*packed)
    )]
    FormatMismatch {
        /// The format of the queue: true for packed.
        packed: bool,
    },
    /// An area is not aligned as 2.7 and 2.8 require.
    #[error("the {part} at {address:#x} is not aligned to {alignment}")]
    Misaligned {
        /// Which area.
        part: &'static str,
        /// Its guest address.
        address: u64,
        /// The required alignment in bytes.
        alignment: u64,
    },
    /// An area is not wholly inside one region of guest memory.
    #[error("the {part}, {length} bytes at {address:#x}, is outside guest memory")]
    OutsideMemory {
        /// Which area.
        part: &'static str,
        /// Its guest address.
        address: u64,
        /// Its length in bytes.
        length: u64,
    },
    /// Two areas share guest addresses.
    #[error("the {first} and the {second} overlap")]
    Overlap {
        /// The area at the lower address.
        first: &'static str,
        /// The other.
        second: &'static str,
    },
    /// The in-flight log has room for fewer descriptors than the queue has.
    #[error("the in-flight log has room for {capacity} descriptors, the queue size is {size}")]
    LogTooSmall {
        /// Queue size.
        size: u16,
        /// Descriptors that the log has room for.
        capacity: u16,
    },
    /// The content of the in-flight log is not valid for this queue.
    #[error("the in-flight log cannot be used: {reason}")]
    BadLog {
        /// Why.
        reason: &'static str,
    },
    /// Room for indirect tables was given, but `VIRTIO_F_INDIRECT_DESC` was not negotiated.
    #[error("an indirect area was given, but VIRTIO_F_INDIRECT_DESC was not negotiated")]
    IndirectNotNegotiated,
    /// Room for indirect tables was given, but the tables have no entries.
    #[error("an indirect area was given, but its tables have no entries")]
    NoIndirectEntries,
}

fn format_name(packed: bool) -> &'static str {
    if packed { "packed" } else { "split" }
}
