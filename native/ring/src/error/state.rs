//! Errors of decoding a ring state.

use thiserror::Error;

/// Bytes are not a ring state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum StateError {
    /// The length is not that of a ring state.
    #[error("a ring state has {expected} bytes, {actual} were given")]
    BadLength {
        /// Bytes given.
        actual: usize,
        /// Bytes of a ring state.
        expected: usize,
    },
    /// The version is not known.
    #[error("a ring state of version {version} cannot be read: give one of version {known}")]
    UnknownVersion {
        /// The version found.
        version: u16,
        /// The version that this code reads.
        known: u16,
    },
    /// The format is neither split nor packed.
    #[error("a ring state has format {format}: 0 (split) and 1 (packed) are known")]
    UnknownFormat {
        /// The format found.
        format: u8,
    },
    /// A bit that has to be 0 is set.
    #[error("a ring state has reserved bits set: {field} is {value:#x}")]
    ReservedBits {
        /// The field.
        field: &'static str,
        /// Its value.
        value: u16,
    },
    /// An index is outside the largest packed ring.
    #[error("a packed ring state has {field} {index}, above the largest index, 32767")]
    IndexOutOfRange {
        /// The field.
        field: &'static str,
        /// Its value.
        index: u16,
    },
}
