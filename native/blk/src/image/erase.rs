//! Ranges of an image that are discarded, or filled with zeroes.

use std::io;
use std::sync::PoisonError;

use super::Image;
use crate::direct::Direct;
use crate::ranges;

impl Image {
    /// Discard a range. What it reads as afterwards is not specified.
    ///
    /// # Errors
    /// Those of the system. A file system without discard is not an error.
    pub fn discard(&self, offset: u64, length: u64) -> io::Result<()> {
        let discarded = if self.is_block_node {
            ranges::discard_blocks(&self.file, offset, length)
        } else {
            self.check_end(offset + length)?;
            ranges::fallocate(&self.file, libc::FALLOC_FL_PUNCH_HOLE, offset, length)
        };
        // "The device MAY deallocate" (5.2.6.2): without file system support, nothing is done.
        discarded.or_else(|cause| {
            if ranges::is_unsupported(&cause) {
                Ok(())
            } else {
                Err(cause)
            }
        })
    }

    /// Fill a range with zeroes. `unmap` allows to deallocate its storage.
    ///
    /// # Errors
    /// Those of the system; `UnexpectedEof` when the file ends before.
    pub fn write_zeroes(&self, offset: u64, length: u64, unmap: bool) -> io::Result<()> {
        let _shared = self.growth.read().unwrap_or_else(PoisonError::into_inner);
        self.check_end(offset + length)?;
        let mode = if unmap {
            libc::FALLOC_FL_PUNCH_HOLE
        } else {
            libc::FALLOC_FL_ZERO_RANGE
        };
        let beside = self.direct.as_ref().map(Direct::share);
        let zeroed = ranges::fallocate(&self.file, mode, offset, length);
        drop(beside);
        zeroed.or_else(|cause| {
            // A block device refuses with EINVAL what is not aligned to its own blocks.
            if ranges::is_unsupported(&cause) || cause.kind() == io::ErrorKind::InvalidInput {
                ranges::write_zeroes(offset, length, |at, zeroes| self.write_bytes(at, zeroes))
            } else {
                Err(cause)
            }
        })
    }
}
