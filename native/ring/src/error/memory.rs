//! Errors of guest memory.

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
