//! The errors of this crate. Each variant carries the values that its message names.
//!
//! ```text
//! MemoryError     guest memory was refused, or an access left it
//! ConfigError     the configuration of a queue is refused
//! RingError       the peer violated the specification, or this side misused the queue
//! ```

use std::io;

use thiserror::Error;

/// Guest memory was refused, or an access left it. Regions are numbered as they were given.
#[derive(Debug, Error)]
pub enum MemoryError {
    /// No region was given.
    #[error("guest memory has no regions: give at least one")]
    NoRegions,
    /// More regions were given than are supported.
    #[error("guest memory has {count} regions: give at most {limit}")]
    TooManyRegions {
        /// Regions given.
        count: usize,
        /// Regions supported.
        limit: usize,
    },
    /// A region has no bytes.
    #[error("region {region} is empty: give a size that is a multiple of 4096")]
    Empty {
        /// Which region.
        region: usize,
    },
    /// An address, size or offset is not a multiple of 4096.
    #[error("region {region}: {what} {value:#x} is not a multiple of 4096")]
    Unaligned {
        /// Which region.
        region: usize,
        /// Which of its fields.
        what: &'static str,
        /// Its value.
        value: u64,
    },
    /// A region ends past the last address, or past the largest file offset.
    #[error("region {region}: {what} {start:#x} plus size {size:#x} is too large")]
    Overflow {
        /// Which region.
        region: usize,
        /// Which of its fields.
        what: &'static str,
        /// Its value.
        start: u64,
        /// Size of the region in bytes.
        size: u64,
    },
    /// Two regions share guest addresses.
    #[error("regions {first} and {second} overlap: give disjoint guest addresses")]
    Overlap {
        /// The region at the lower address.
        first: usize,
        /// The other.
        second: usize,
    },
    /// The file can shrink: an access past its end would kill this process with SIGBUS.
    #[error("region {region} is not sealed against shrinking: add F_SEAL_SHRINK to its memfd")]
    Unsealed {
        /// Which region.
        region: usize,
    },
    /// The file is shorter than the region needs.
    #[error("region {region} needs a file of {required} bytes, but its file has {actual}")]
    TooSmall {
        /// Which region.
        region: usize,
        /// Bytes the file has.
        actual: u64,
        /// Bytes it needs: offset plus size.
        required: u64,
    },
    /// The file could not be examined or mapped.
    #[error("region {region} cannot be mapped")]
    Map {
        /// Which region.
        region: usize,
        /// Why.
        source: io::Error,
    },
    /// An access is not wholly inside guest memory.
    #[error("{length} bytes at {address:#x} are outside guest memory")]
    OutOfBounds {
        /// Guest address of the access.
        address: u64,
        /// Its length in bytes.
        length: u64,
    },
    /// An atomic access is not aligned to its size.
    #[error("an atomic access of {size} bytes at {address:#x} is not aligned to its size")]
    Misaligned {
        /// Guest address of the access.
        address: u64,
        /// Its size in bytes.
        size: u64,
    },
}

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
