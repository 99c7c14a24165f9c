//! Violations by the peer, and misuse by this side.

use thiserror::Error;

/// The peer violated the specification of the ring, or this side misused the queue.
///
/// `head` is the chain, by its first descriptor, which in a packed ring is an entry of the ring; `index`
/// is a descriptor of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RingError {
    // Violations by the driver, found by the device side.
    /// More chains were made available than the queue has entries (2.7.6).
    #[error("the available index jumped from {from} to {to}, the queue size is {size}")]
    AvailIndexJumped {
        /// Next chain the device would take.
        from: u16,
        /// What the driver wrote.
        to: u16,
        /// Queue size.
        size: u16,
    },
    /// An entry of the available ring names no descriptor (2.7.6).
    #[error("available entry {slot} names descriptor {head}, the queue size is {size}")]
    HeadOutOfRange {
        /// Entry of the available ring.
        slot: u16,
        /// What the driver wrote there.
        head: u16,
        /// Queue size.
        size: u16,
    },
    /// A chain was made available while it is in flight (2.7.13).
    #[error("descriptor {head} was made available while the device holds its chain")]
    HeadInFlight {
        /// The chain.
        head: u16,
    },
    /// `next` names no descriptor of its table (2.7.5).
    #[error("chain {head}: descriptor {index} continues at {next}, its table has {entries}")]
    NextOutOfRange {
        /// The chain.
        head: u16,
        /// The descriptor with the bad `next`.
        index: u16,
        /// What the driver wrote.
        next: u16,
        /// Descriptors in the table.
        entries: u32,
    },
    /// A chain has more buffers than the queue size (2.7.5.3.1), or than the device allows in an
    /// indirect table. A chain that loops ends here too.
    #[error("chain {head} is longer than {size} buffers, or loops")]
    ChainTooLong {
        /// The chain; for one being added, the first free descriptor.
        head: u16,
        /// Buffers it may have.
        size: u16,
    },
    /// The buffers of a chain exceed 2^32 bytes (2.7.5.2).
    #[error("chain {head} has more than 2^32 bytes")]
    ChainTooLarge {
        /// The chain; for one being added, the first free descriptor.
        head: u16,
    },
    /// A device-readable buffer follows a device-writable one (2.7.4.2).
    #[error("chain {head}: descriptor {index} is device-readable after a device-writable one")]
    ReadableAfterWritable {
        /// The chain.
        head: u16,
        /// The device-readable descriptor.
        index: u16,
    },
    /// A buffer is not wholly inside guest memory.
    #[error("a buffer of chain {head}, {length} bytes at {address:#x}, is outside guest memory")]
    BufferOutsideMemory {
        /// The chain; for one being added, the first free descriptor.
        head: u16,
        /// Guest address of the buffer.
        address: u64,
        /// Its length in bytes.
        length: u32,
    },
    /// More descriptors were made available than a packed ring has entries (2.8.17).
    #[error(
        "descriptor {index} was made available before the device used it, the queue size is {size}"
    )]
    RingOverrun {
        /// Last descriptor of the chain.
        index: u16,
        /// Queue size.
        size: u16,
    },
    /// A packed chain continues at a descriptor that is not available (2.8.6).
    #[error("chain {head} continues at descriptor {index}, which is not available")]
    ChainNotAvailable {
        /// The chain.
        head: u16,
        /// The descriptor.
        index: u16,
    },
    /// The buffer ID of a packed chain is not below the queue size (2.8.22).
    #[error("descriptor {index} has buffer ID {id}, the queue size is {size}")]
    BufferIdOutOfRange {
        /// Last descriptor of the chain.
        index: u16,
        /// What the driver wrote there.
        id: u16,
        /// Queue size.
        size: u16,
    },
    /// A packed chain was made available with the buffer ID of a chain that is in flight.
    #[error("descriptor {index} has buffer ID {id}, whose chain the device holds")]
    BufferIdInFlight {
        /// Last descriptor of the chain.
        index: u16,
        /// What the driver wrote there.
        id: u16,
    },
    /// An indirect descriptor in a packed chain of direct ones (2.8.19).
    #[error("chain {head}: descriptor {index} is indirect, those before it are not")]
    IndirectInChain {
        /// The chain.
        head: u16,
        /// The indirect descriptor.
        index: u16,
    },
    /// An indirect descriptor without `VIRTIO_F_INDIRECT_DESC` (2.7.5.3.1).
    #[error(
        "chain {head}: descriptor {index} is indirect, but VIRTIO_F_INDIRECT_DESC was not negotiated"
    )]
    IndirectNotNegotiated {
        /// The chain.
        head: u16,
        /// The indirect descriptor.
        index: u16,
    },
    /// An indirect descriptor that also continues (2.7.5.3.1, 2.8.19).
    #[error("chain {head}: descriptor {index} is both indirect and continued")]
    IndirectWithNext {
        /// The chain.
        head: u16,
        /// The indirect descriptor.
        index: u16,
    },
    /// An indirect descriptor inside an indirect table (2.7.5.3.1).
    #[error("chain {head}: entry {index} of an indirect table is itself indirect")]
    IndirectNested {
        /// The chain.
        head: u16,
        /// Entry of the table.
        index: u16,
    },
    /// The length of an indirect table is 0 or not a multiple of 16 (2.7.5.3).
    #[error(
        "chain {head}: the length of an indirect table, {length} bytes, is not a positive multiple of 16"
    )]
    IndirectBadLength {
        /// The chain.
        head: u16,
        /// Length of the table in bytes.
        length: u32,
    },
    /// An indirect table is not wholly inside guest memory.
    #[error("chain {head}: an indirect table, {length} bytes at {address:#x}, is outside memory")]
    IndirectOutsideMemory {
        /// The chain.
        head: u16,
        /// Guest address of the table.
        address: u64,
        /// Its length in bytes.
        length: u32,
    },

    // Violations by the device, found by the driver side.
    /// More chains were used than are in flight (2.7.8).
    #[error("the used index jumped from {from} to {to}, {in_flight} chains are in flight")]
    UsedIndexJumped {
        /// Next used entry the driver would take.
        from: u16,
        /// What the device wrote.
        to: u16,
        /// Chains in flight.
        in_flight: u16,
    },
    /// A used entry names no descriptor (2.7.8).
    #[error("used entry {slot} names descriptor {id}, the queue size is {size}")]
    UsedIdOutOfRange {
        /// Entry of the used ring.
        slot: u16,
        /// What the device wrote there.
        id: u32,
        /// Queue size.
        size: u16,
    },
    /// A used entry names a chain that is not in flight (2.7.8).
    #[error("used entry {slot} names chain {head}, which is not in flight")]
    UsedIdNotInFlight {
        /// Entry of the used ring.
        slot: u16,
        /// What the device wrote there.
        head: u16,
    },
    /// The device claims to have written more than the chain can hold (2.7.8.2).
    #[error("the device wrote {written} bytes into chain {head}, which holds {writable}")]
    UsedLengthTooLarge {
        /// The chain.
        head: u16,
        /// What the device claims.
        written: u32,
        /// Device-writable bytes of the chain.
        writable: u64,
    },

    // Misuse by this side. Nothing was published to the peer.
    /// A chain was given back that the device does not hold.
    #[error("chain {head} was given back, but the device does not hold it")]
    NotInFlight {
        /// The chain.
        head: u16,
    },
    /// A chain without buffers was added.
    #[error("a chain without buffers cannot be added: give at least one")]
    EmptyChain,
    /// A buffer without bytes was added.
    #[error("the buffer at {address:#x} has length 0: give at least 1 byte")]
    EmptySegment {
        /// Guest address of the buffer.
        address: u64,
    },
}

/// Names of the rules for drivers that this crate judges, as [`RingError::rule`] returns them.
pub const RULES: [&str; 17] = [
    "avail-index",
    "avail-entry",
    "chain-in-flight",
    "descriptor-next",
    "chain-length",
    "chain-bytes",
    "readable-first",
    "buffer-outside-memory",
    "packed-overrun",
    "packed-chain",
    "packed-buffer-id",
    "packed-buffer-id-in-flight",
    "packed-indirect-in-chain",
    "indirect-not-negotiated",
    "indirect-next",
    "indirect-nested",
    "indirect-table",
];

impl RingError {
    /// Name of the rule that the driver broke; None for what the device, or this side, did.
    #[must_use]
    pub const fn rule(&self) -> Option<&'static str> {
        Some(match self {
            Self::AvailIndexJumped { .. } => "avail-index",
            Self::HeadOutOfRange { .. } => "avail-entry",
            Self::HeadInFlight { .. } => "chain-in-flight",
            Self::NextOutOfRange { .. } => "descriptor-next",
            Self::ChainTooLong { .. } => "chain-length",
            Self::ChainTooLarge { .. } => "chain-bytes",
            Self::ReadableAfterWritable { .. } => "readable-first",
            Self::BufferOutsideMemory { .. } => "buffer-outside-memory",
            Self::RingOverrun { .. } => "packed-overrun",
            Self::ChainNotAvailable { .. } => "packed-chain",
            Self::BufferIdOutOfRange { .. } => "packed-buffer-id",
            Self::BufferIdInFlight { .. } => "packed-buffer-id-in-flight",
            Self::IndirectInChain { .. } => "packed-indirect-in-chain",
            Self::IndirectNotNegotiated { .. } => "indirect-not-negotiated",
            Self::IndirectWithNext { .. } => "indirect-next",
            Self::IndirectNested { .. } => "indirect-nested",
            Self::IndirectBadLength { .. } | Self::IndirectOutsideMemory { .. } => "indirect-table",
            Self::UsedIndexJumped { .. }
            | Self::UsedIdOutOfRange { .. }
            | Self::UsedIdNotInFlight { .. }
            | Self::UsedLengthTooLarge { .. }
            | Self::NotInFlight { .. }
            | Self::EmptyChain
            | Self::EmptySegment { .. } => return None,
        })
    }

    /// The chain that broke the rule, by its head; None for an error of the ring.
    #[must_use]
    pub const fn head(&self) -> Option<u16> {
        match *self {
            Self::HeadInFlight { head }
            | Self::NextOutOfRange { head, .. }
            | Self::ChainTooLong { head, .. }
            | Self::ChainTooLarge { head }
            | Self::ReadableAfterWritable { head, .. }
            | Self::BufferOutsideMemory { head, .. }
            | Self::ChainNotAvailable { head, .. }
            | Self::IndirectInChain { head, .. }
            | Self::IndirectNotNegotiated { head, .. }
            | Self::IndirectWithNext { head, .. }
            | Self::IndirectNested { head, .. }
            | Self::IndirectBadLength { head, .. }
            | Self::IndirectOutsideMemory { head, .. } => Some(head),
            _ => None,
        }
    }
}
